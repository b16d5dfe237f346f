// Reports what a Go program observes, with nothing but the standard library, and prints the verdict:
//
//	VAGUS_URL=http://127.0.0.1:7117 VAGUS_TOKEN=... go run examples/health/report.go db@2 read UNHEALTHY 30
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"
)

var client = &http.Client{Timeout: 5 * time.Second}

func ask(method, path string, body any) string {
	sent, _ := json.Marshal(body)
	request, err := http.NewRequest(method, os.Getenv("VAGUS_URL")+path, bytes.NewReader(sent))
	if err == nil {
		request.Header.Set("Authorization", "Bearer "+os.Getenv("VAGUS_TOKEN"))
		request.Header.Set("Content-Type", "application/json")
		var answer *http.Response
		if answer, err = client.Do(request); err == nil {
			defer answer.Body.Close()
			text, _ := io.ReadAll(answer.Body)
			if answer.StatusCode == http.StatusOK {
				return string(text)
			}
			err = fmt.Errorf("%s", text)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
	return ""
}

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: report SUBJECT CONTEXT STATUS SCORE")
		os.Exit(2)
	}
	score, _ := strconv.ParseFloat(os.Args[4], 64)
	fmt.Println(ask("POST", "/v1/report", map[string]any{
		"observer": fmt.Sprintf("go@%d", os.Getpid()), "subject": os.Args[1],
		"contexts": map[string]any{os.Args[2]: []any{os.Args[3], score}},
	}))
	fmt.Println(ask("GET", "/v1/health/"+url.PathEscape(os.Args[1]), nil))
}
