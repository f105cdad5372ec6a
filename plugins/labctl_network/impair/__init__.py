"""Links that behave badly on order: what is wanted (impairment), one direction of it (lane), and how it is put to work (apply, relay)."""
