"""The installation itself: doctor, checkup, deployments and drift."""
