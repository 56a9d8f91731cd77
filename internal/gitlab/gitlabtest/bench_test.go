package gitlabtest_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/store"
)

// BenchmarkPatch says how fast the coordinator itself takes logs: the floor of every log benchmark.
func BenchmarkPatch(b *testing.B) {
	for name, mode := range map[string]store.Mode{"memory": store.InMemory, "file": store.InFile, "hash": store.HashOnly} {
		b.Run(name, func(b *testing.B) {
			c := gitlabtest.Start(b, gitlabtest.Options{Traces: mode})
			token := c.AddRunner(gitlabtest.RunnerSpec{}).Token
			id, err := c.AddJob(b.Context(), gitlabtest.JobSpec{})
			if err != nil {
				b.Fatal(err)
			}
			post := func(method, path, header, token, kind, span string, body []byte, want int) {
				req, err := http.NewRequestWithContext(b.Context(), method, c.URL()+gitlab.APIPath+path, bytes.NewReader(body))
				if err != nil {
					b.Fatal(err)
				}
				req.Header.Set(gitlab.HeaderRequestID, strings.Repeat("0", 32))
				req.Header.Set(header, token)
				req.Header.Set("Content-Type", kind)
				req.Header.Set("Content-Range", span)
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				if res.StatusCode != want {
					b.Fatalf("%s %s: %s", method, path, res.Status)
				}
			}
			post("POST", "jobs/request", gitlab.HeaderRunnerToken, token, "application/json", "", []byte(`{"token":"`+token+`","info":{"features":{"refspecs":true}}}`), 201)
			j, _ := c.Job(id)
			patch := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
			b.SetBytes(int64(len(patch)))
			for i := range b.N {
				start := i * len(patch)
				post("PATCH", fmt.Sprintf("jobs/%d/trace", id), gitlab.HeaderJobToken, j.Token, "text/plain", fmt.Sprintf("%d-%d", start, start+len(patch)-1), patch, 202)
			}
		})
	}
}
