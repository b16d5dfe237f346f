"""What others show of vagus: Grafana's dashboards, Prometheus' scrape configuration and alert rules."""
