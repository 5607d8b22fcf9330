"""Alerts with the outside attached: incidents, destinations, silences, and sending; `dispatch` is the way in."""
