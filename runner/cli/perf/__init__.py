"""perf_analyzer's command line, its ancestor perf_client's and that of the SLA benchmark client: read, and translated
into a scenario."""
