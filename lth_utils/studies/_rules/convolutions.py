"""Rules for *Convolutions*."""
