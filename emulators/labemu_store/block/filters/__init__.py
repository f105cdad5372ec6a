"""Filters: stores that wrap a store, with the same shape and `next`, so that they stack in any order."""

from labemu_store.block.filters.base import Filter, Rule
from labemu_store.block.filters.cow import CowFilter
from labemu_store.block.filters.delay import DelayFilter
from labemu_store.block.filters.error import ErrorFilter
from labemu_store.block.filters.pause import PauseFilter
from labemu_store.block.filters.rate import RateFilter
from labemu_store.block.filters.readonly import ReadonlyFilter
from labemu_store.block.filters.stack import Stack
from labemu_store.block.filters.stats import Counter, StatsFilter

__all__ = [
    "Counter",
    "CowFilter",
    "DelayFilter",
    "ErrorFilter",
    "Filter",
    "PauseFilter",
    "RateFilter",
    "ReadonlyFilter",
    "Rule",
    "Stack",
    "StatsFilter",
]
