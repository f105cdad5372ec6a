"""`labctl top`: rates from two looks at the lab's metrics, and the screen that shows them."""
