"""Alarms: what is said when a metric of a running lab is above or below a threshold for a while."""
