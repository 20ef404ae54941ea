"""Media in: any common audio or video file to the samples that speech models take."""
