"""What the experiments share: launching, configurations, training runs over seeds, and reports."""
