"""Faults caused for real, fuzzed parsers, and what must never leak."""
