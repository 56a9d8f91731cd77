package images_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/images"
	"gitlab.com/skerry/skerry/internal/job"
)

var (
	digest  = "sha256:2" + strings.Repeat("a", 63)
	imageID = "sha256:" + strings.Repeat("b", 64)
)

func TestParse(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"ruby":                              "docker.io/library/ruby:latest",
		"ruby:3":                            "docker.io/library/ruby:3",
		"library/ruby:3":                    "docker.io/library/ruby:3",
		"docker.io/ruby":                    "docker.io/library/ruby:latest",
		"index.docker.io/ruby":              "docker.io/library/ruby:latest",
		"docker.io:443/ruby":                "docker.io/library/ruby:latest",
		"registry-1.docker.io/library/ruby": "docker.io/library/ruby:latest",
		"DOCKER.io/library/ruby":            "docker.io/library/ruby:latest",
		"group/ruby":                        "docker.io/group/ruby:latest",
		"Registry.Example.com/Group/x":      "",
		"Registry.Example.com/group/x":      "registry.example.com/group/x:latest",
		"registry.example.com:5000/x:1":     "registry.example.com:5000/x:1",
		"gitlab.example.com:443/g/dependency_proxy/containers/alpine": "gitlab.example.com:443/g/dependency_proxy/containers/alpine:latest",
		"localhost/x":                 "localhost/x:latest",
		"LOCALHOST/x":                 "localhost/x:latest",
		"localhost:5000/x":            "localhost:5000/x:latest",
		"ruby@" + digest:              "docker.io/library/ruby@" + digest,
		"ruby:3@" + digest:            "docker.io/library/ruby@" + digest,
		imageID:                       imageID,
		imageID[len("sha256:"):]:      imageID,
		imageID[len("sha256:"):][:12]: "docker.io/library/bbbbbbbbbbbb:latest", // never an ID
		"":                            "",
		"Ruby":                        "",
		"Group/ruby":                  "",
		"docker://ruby":               "",
		" ruby":                       "",
		"ruby:":                       "",
		"ruby@sha256:abc":             "",
		"registry.example.com./x":     "",
		"../x":                        "",
		"rüby":                        "",
	} {
		r, err := images.Parse(given)
		got := ""
		if err == nil {
			got = r.Canonical()
		}
		if got != want {
			t.Errorf("Parse(%q) = %q, %v; want %q", given, got, err, want)
		}
	}
}

func TestAllowedImages(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		patterns string
		yes, no  string
	}{
		{"", "anything:1 " + imageID, ""},
		{"ruby:*", "ruby:3 ruby docker.io/library/ruby:3 index.docker.io/ruby:3 library/ruby:3 docker.io/ruby DOCKER.IO/ruby:3 ruby:3@" + digest,
			"evil/ruby:3 registry.example.com/ruby:3 registry.example.com/library/ruby:3 docker.io/evil/ruby:3 rubyx:3 localhost/ruby:3 localhost:5000/ruby:3 " + imageID},
		{"ruby", "ruby ruby:latest docker.io/library/ruby", "ruby:3 ruby@" + digest + " ruby:latest@" + digest},
		{"ruby:2.*", "ruby:2.7", "ruby:3 ruby:2.7@" + digest + " ruby@" + digest + " RUBY:2.7"},
		{"group/*:2*", "group/x:2", "group/x@" + digest + " group/x:2@" + digest + " GROUP/x:2 group:80/x:2 group.com/x:2"},
		{"docker.io/library/ruby:3", "ruby:3 library/ruby:3 index.docker.io/library/ruby:3", "ruby:4"},
		{"my.registry.tld:5000/*:*", "my.registry.tld:5000/ruby:3 my.registry.tld:5000/ruby my.registry.tld:5000/ruby@" + digest + " MY.registry.tld:5000/ruby:3",
			"my.registry.tld/ruby:3 my.registry.tld:5001/ruby:3 my.registry.tld:5000/group/ruby:3 ruby:3 my.registry.tld:5000.evil.com/ruby:3"},
		{"My.Registry.tld/**", "my.registry.tld/a/b:c my.registry.tld:443/a", "registry.tld/a evil/my.registry.tld/a"},
		{"gitlab.com:443/**", "gitlab.com/a/b gitlab.com:443/a/b:1", "gitlab.com:80/a"},
		{"ruby:3@" + digest, "ruby:3@" + digest, "ruby:3 ruby@sha256:" + strings.Repeat("c", 64)},
		{"*:*", "ruby:3 docker.io/library/ruby", "group/ruby:3 " + imageID},
		{"**", "a b/c:1 x.y/z " + imageID + " a@" + digest, ""},
		{imageID, imageID, "sha256:" + strings.Repeat("c", 64)},
		{"** !*/kali* !evil.io/**", "ruby evil.com/x", "group/kali:1 docker.io/group/kali-rolling group/kali@" + digest + " evil.io/x EVIL.io/a/b evil.io:443/x evil.io:8080/x:1 evil.io/x@" + digest + " " + imageID},
		{"** !ruby:2", "ruby:3", "ruby:2 docker.io/library/ruby:2 library/ruby:2 ruby@" + digest + " ruby:3@" + digest},
		{"!evil/*", "", "ruby evil/x"},
	} {
		r := images.Rules{AllowedImages: strings.Fields(tc.patterns), AllowedServices: strings.Fields(tc.patterns), PrivilegedImages: strings.Fields(tc.patterns)}
		for _, name := range strings.Fields(tc.yes) {
			if err := errors.Join(r.CheckImage(name), r.CheckService(name)); err != nil || !r.Privileged(name) {
				t.Errorf("%q does not allow %q: %v", tc.patterns, name, err)
			}
		}
		for _, name := range strings.Fields(tc.no) {
			if r.CheckImage(name) == nil || r.CheckService(name) == nil || r.Privileged(name) {
				t.Errorf("%q allows %q", tc.patterns, name)
			}
		}
	}
}

func TestOwnImageIsAllowed(t *testing.T) {
	t.Parallel()
	r := images.Rules{AllowedImages: []string{"other"}}
	for name, want := range map[string]bool{
		"ruby:3": true, "docker.io/library/ruby:3": true, "ruby": false, "ruby:3@" + digest: false, "evil/ruby:3": false,
	} {
		if err := r.CheckImage(name, "ruby:3"); (err == nil) != want {
			t.Errorf("CheckImage(%q) = %v", name, err)
		}
	}
}

func TestCheckUser(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		user, configured, allowed string
		want                      bool
	}{
		{"", "", "", true},
		{"root", "", "", true},
		{"root", "job", "", false},
		{"job", "job", "", true},
		{"", "job", "", true},
		{"root", "", "job 1000", false},
		{"1000", "", "job 1000", true},
		{"1000:0", "", "job 1000", false},
		{"Job", "", "job", false},
	} {
		err := images.Rules{AllowedUsers: strings.Fields(tc.allowed)}.CheckUser(tc.user, tc.configured)
		if (err == nil) != tc.want {
			t.Errorf("user %q with %q and %q: %v", tc.user, tc.configured, tc.allowed, err)
		}
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		job, runner, allowed string
		want, problem        string
	}{
		{"", "", "", "always", ""},
		{"", "if-not-present", "", "if-not-present", ""},
		{"", "always if-not-present", "", "always if-not-present", ""},
		{"never", "", "", "", `pull_policy ([never]) defined in GitLab pipeline config is not one of the allowed_pull_policies ([always])`},
		{"if-not-present", "always", "", "", `pull_policy ([if-not-present]) defined in GitLab pipeline config is not one of the allowed_pull_policies ([always])`},
		{"if-not-present", "always", "if-not-present always", "if-not-present", ""},
		{"never always", "", "always", "always", ""},
		{"", "never", "always", "", `pull_policy ([never]) defined in Runner config is not one of the allowed_pull_policies ([always])`},
		{"", "", "never", "", `pull_policy ([always]) defined in Runner config (default) is not one of the allowed_pull_policies ([never])`},
		{"Always", "", "", "", `pull_policy defined in GitLab pipeline config: "Always" is no pull policy: use "always", "if-not-present" or "never"`},
	} {
		r := images.Rules{PullPolicy: strings.Fields(tc.runner), AllowedPolicies: strings.Fields(tc.allowed)}
		got, err := r.Policies(strings.Fields(tc.job))
		problem := ""
		if err != nil {
			problem = err.Error()
			var f *executor.Failure
			if !errors.As(err, &f) || f.Reason != job.ReasonConfiguration {
				t.Errorf("%v: not the configuration's fault", err)
			}
		}
		if diff := cmp.Diff([]string{tc.want, tc.problem}, []string{strings.Join(got, " "), problem}); diff != "" {
			t.Errorf("%+v: %s", tc, diff)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	if err := (images.Rules{PullPolicy: []string{"always"}, AllowedImages: []string{"a/*", "!{b,c}/**"}}).Validate(); err != nil {
		t.Error(err)
	}
	for key, r := range map[string]images.Rules{
		"pull_policy":           {PullPolicy: []string{"sometimes"}},
		"allowed_pull_policies": {AllowedPolicies: []string{"Always"}},
		"allowed_images":        {AllowedImages: []string{"[a"}},
		"allowed_services":      {AllowedServices: []string{"!{a"}},
	} {
		if err := r.Validate(); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
}
