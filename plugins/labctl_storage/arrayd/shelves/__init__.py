"""Where an array keeps its volumes: files, object storage, or its memory."""
