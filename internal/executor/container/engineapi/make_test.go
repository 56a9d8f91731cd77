package engineapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// taken answers as an engine does that has a container of any name that is asked for, with these labels.
func taken(labels map[string]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		w.Header().Set("Content-Type", "application/json")
		code, answer := http.StatusOK, any(map[string]any{"ApiVersion": "1.41", "Version": "5.0.0"}) // _ping, version, info
		switch {
		case r.Method == http.MethodPost:
			code, answer = http.StatusConflict, map[string]string{"message": "the name is already in use"}
		case strings.Contains(r.URL.Path, "/containers/"):
			answer = map[string]any{"Id": "theirs", "Config": map[string]any{"Labels": labels}}
		}
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(answer)
	}
}

// TestCreateTakesNoContainerOfOthers finds the one that an earlier process has made, and no other one of its name.
func TestCreateTakesNoContainerOfOthers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		has   map[string]string
		agree []string
		fails bool
	}{
		"its own":          {map[string]string{"owner": "me", "more": "x"}, []string{"owner"}, false},
		"another's":        {map[string]string{"owner": "you"}, []string{"owner"}, true},
		"somebody's":       {nil, []string{"owner"}, true},
		"it does not care": {map[string]string{"owner": "you"}, nil, false},
	} {
		server := httptest.NewServer(taken(c.has))
		t.Cleanup(server.Close)
		engine, err := engineapi.Connect(t.Context(), engineapi.Address{Host: strings.Replace(server.URL, "http://", "tcp://", 1)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = engine.Close() })
		id, err := engine.Create(t.Context(), client.ContainerCreateOptions{
			Name: "one", Config: &container.Config{Image: "i", Labels: map[string]string{"owner": "me"}}, HostConfig: &container.HostConfig{},
		}, c.agree...)
		if (err != nil) != c.fails || (id == "theirs") == c.fails {
			t.Errorf("%s: %q, %v", name, id, err)
		}
	}
}
