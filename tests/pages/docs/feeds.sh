# A node that serves CoMon's report, and a list of nodes that it is on.
echo 127.31.21.1 > nodelist
python - <<'END' &
from http.server import BaseHTTPRequestHandler, HTTPServer

REPORT = b"Date: 1180000000.5\nVMStat: 0 1 2\n5minload: 2.5\nGbFree: 3.5\nRWFS: 0\n"


class Node(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(REPORT)))
        self.end_headers()
        self.wfile.write(REPORT)


HTTPServer(("127.31.21.1", 3121), Node).serve_forever()
END
until curl --output report http://127.31.21.1:3121; do sleep 0.1; done
