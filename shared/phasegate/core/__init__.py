"""The pure domain: values in, values out. Imports the standard library, itself and `phasegate.errors` only."""
