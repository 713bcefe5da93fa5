"""The few hot operations. The plain torch versions here define their meaning."""
