package config_test

import (
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/config"
)

// TestEveryKeyOfGitLabRunner is read without an error and without an unknown key.
func TestEveryKeyOfGitLabRunner(t *testing.T) {
	t.Parallel()
	c, err := config.Load("testdata/gitlab-runner/every-key.toml", options())
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range c.Warnings {
		if strings.Contains(w.Message, "unknown") {
			t.Error(w)
		}
	}
}
