"""What an analysis found: frozen values, which every renderer takes as they are."""
