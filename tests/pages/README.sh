# What goes on where README.md is read: a service says how its calls went, decides, and sends traces.
vagus health report db@2 read:h:3 --observer api@1
python - <<'END'
import vagus

with vagus.span("GET /cart", service="web"), vagus.span("SELECT", service="db"):
    decisions = vagus.decisions(default="cdn-a")
    for _ in range(20):
        decisions.update(decisions.decide({}, ["cdn-a", "cdn-b"]), reward=0.5)
    assert decisions.flush(30)
END
