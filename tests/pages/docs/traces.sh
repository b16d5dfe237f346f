# The shop of examples/traces is visited, and one of its requests known by its id.
python examples/traces/shop.py &
until TRACE=$(vagus traces list --service web --json | jq --exit-status --raw-output '.traces[0].trace_id'); do sleep 0.5; done
