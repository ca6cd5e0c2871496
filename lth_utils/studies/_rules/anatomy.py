"""Rules for *What a ticket looks like*."""
