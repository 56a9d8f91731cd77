package sources_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"gitlab.com/skerry/skerry/internal/stage/stagetest"
)

// While git waits for the server no process's arguments hold the token.
func TestArgumentsHideCredentials(t *testing.T) {
	t.Parallel()
	server := newGitServer(t)
	f := newFamily(t, server)
	large := server.storeLFS("a large file\n")
	sha := f.outer.commit(map[string]string{".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
		"x.bin": "version https://git-lfs.github.com/spec/v1\noid sha256:" + large + "\nsize 13\n"})
	next := server.Config.Handler
	var seen atomic.Int64
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		files, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil || len(files) == 0 {
			t.Error("no processes", err)
		}
		for _, file := range files {
			b, _ := os.ReadFile(file)
			if args := strings.ReplaceAll(string(b), "\x00", " "); strings.Contains(args, testToken) || strings.Contains(args, "Basic ") {
				t.Errorf("%s: %s", r.URL, args)
			} else if strings.Contains(args, server.URL) {
				seen.Add(1)
			}
		}
		next.ServeHTTP(w, r)
	})
	place, dir := stagetest.New(t), t.TempDir()
	checkout(t, place, dir, f.sources(sha, "recursive"))
	if seen.Load() == 0 {
		t.Error("no git was seen")
	}
	checkNoToken(t, dir, place)
}
