# URL, A and J, as in http.md.
URL=http://127.0.0.1:7117
A="Authorization: Bearer $(cat $VAGUS_HOME/token)"; J="Content-Type: application/json"
