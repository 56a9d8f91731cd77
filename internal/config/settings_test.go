package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gitlab.com/skerry/skerry/internal/config"
)

// example returns two texts that a setting of a type takes.
func example(s *config.Setting) []string {
	switch s.Type() {
	case "bool", "true|false":
		return []string{"true"}
	case "int", "number":
		return []string{"7"}
	case "duration":
		return []string{"1m30s"}
	case "key:value":
		if s.Flag == "feature-flags" {
			return []string{"FF_A:true", "FF_B:false"}
		}
		return []string{"1:2", "a.b:3"}
	case "list":
		if s.Key == "kubernetes.host_aliases" {
			return []string{`[{"ip":"10.0.0.1","hostnames":["a","b"]}]`}
		}
		return []string{"1", "2"}
	default:
		return []string{"text with \"quotes\""}
	}
}

// TestEverySettingSurvivesTheFile sets every key that has a flag, writes the runner, reads it
// again and compares: flags, encoder and decoder know the same keys.
func TestEverySettingSurvivesTheFile(t *testing.T) {
	t.Parallel()
	want := &config.Runner{}
	for _, s := range config.Settings(want) {
		for _, text := range example(s) {
			if err := s.Set(text); err != nil {
				t.Fatalf("--%s %q: %v", s.Flag, text, err)
			}
		}
		if s.IsBool() && s.String() != "true" {
			t.Errorf("--%s shows %q", s.Flag, s.String())
		}
	}
	want.TokenFile = ""
	d := draft(t, "")
	if err := d.Append(want); err != nil {
		t.Fatal(err)
	}
	got := d.Config().Runners[0]
	got.Refused, got.Line = nil, 0
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(config.Runner{})); diff != "" {
		t.Errorf("-set +read:\n%s", diff)
	}
	for _, w := range d.Config().Warnings {
		t.Log(w)
	}
}

func TestSettingReplacesListsOfTemplates(t *testing.T) {
	t.Parallel()
	r := &config.Runner{Environment: []string{"FROM=template"}, FeatureFlags: map[string]bool{"FF_A": true}}
	for _, s := range config.Settings(r) {
		switch s.Flag {
		case "env":
			for _, v := range []string{"A=b", "C=d,e"} {
				if err := s.Set(v); err != nil {
					t.Fatal(err)
				}
			}
		case "feature-flags":
			if err := s.Set("FF_B:true"); err != nil {
				t.Fatal(err)
			}
		case "docker-pull-policy":
			if err := s.Set("always, never"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if diff := cmp.Diff([]string{"A=b", "C=d,e"}, r.Environment); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]bool{"FF_A": true, "FF_B": true}, r.FeatureFlags); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(config.StringList{"always", "never"}, r.Docker.PullPolicy); diff != "" {
		t.Error(diff)
	}
}

func TestSettingsRefuseNonsense(t *testing.T) {
	t.Parallel()
	for flag, text := range map[string]string{
		"limit": "many", "debug-trace-disabled": "perhaps", "unhealthy-interval": "10", "feature-flags": "FF_A:perhaps",
		"kubernetes-host_aliases": "x", "machine-idle-scale-factor": "x", "name": "\xff",
	} {
		found := false
		for _, s := range config.Settings(&config.Runner{}) {
			if s.Flag == flag {
				found = true
				if err := s.Set(text); err == nil {
					t.Errorf("--%s %q: no error", flag, text)
				}
			}
		}
		if !found {
			t.Errorf("no flag --%s", flag)
		}
	}
}
