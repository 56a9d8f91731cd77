package images_test

import (
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/executor/container/images"
)

// names are all ways that a job could write an image, sensible or not.
func names() []string {
	var out []string
	hosts := []string{
		"", "docker.io/", "index.docker.io/", "registry-1.docker.io/", "registry.hub.docker.com/", "DOCKER.io/", "docker.io:443/", "docker.io:80/", "docker.io./",
		"localhost/", "localhost:5000/", "LOCALHOST/", "127.0.0.1:5000/", "[::1]:5000/", "evil.io/", "EVIL.io/", "Evil.IO:443/", "evil.io:8443/", "evil.io./",
		"good.example.com/", "GOOD.example.com/", "good.example.com:443/", "good.example.com:5000/", "good.example.com.evil.io/", "evil.io/good.example.com/", "good.example.com@evil.io/",
		"docker://", "https://docker.io/", "docker-daemon:", "oci:/", "containers-storage:", "docker-archive:/", "dir:/", "//", "./", "../", "$HOST/", "docker.io//", "docker.io/./", "docker.io/../",
	}
	paths := []string{
		"ruby", "library/ruby", "Ruby", "RUBY", "evil/ruby", "Evil/ruby", "library/evil/ruby", "ruby/evil", "library//ruby", "library/../evil/ruby", "ruby%2fevil", "ruby\x00evil", "ruby evil", "rüby", "evil",
		"evil/kali", "group/app", "group/app/evil", "group-evil/app", "GROUP/app",
	}
	tags := []string{
		"", ":3", ":3.1", ":latest", ":LATEST", ":evil", ":3:evil", ":", ":3 ", "@" + digest, ":3@" + digest, ":evil@" + digest, "@sha256:abc", "@sha512:" + strings.Repeat("a", 128), ":3@" + digest + "@" + digest,
		":3\n", ":$TAG",
	}
	for i, h := range hosts {
		for j, p := range paths {
			for k, tag := range tags {
				if i == 0 || j == 0 || k == 0 { // two at a time
					out = append(out, h+p+tag)
				}
			}
		}
	}
	return append(out, imageID, strings.TrimPrefix(imageID, "sha256:"), imageID[7:19], "SHA256:"+imageID[7:], "", " ", "ruby:3\t", strings.Repeat("a", 300))
}

// TestAttacks tries every way to write a name on lists: what a list lets through is what its patterns mean,
// since the engine is given the one canonical name that was judged.
func TestAttacks(t *testing.T) {
	t.Parallel()
	all, canonicals := names(), map[string]string{}
	for _, name := range all {
		if ref, err := images.Parse(name); err == nil {
			canonicals[name] = ref.Canonical()
		}
	}
	hub := func(path string) string { return "docker.io/" + path }
	for _, tc := range []struct {
		patterns string
		may      func(canonical string) bool // what may get through
		must     string                      // what has to
	}{
		{"ruby:3*", func(c string) bool { return strings.HasPrefix(c, hub("library/ruby:3")) }, "ruby:3 docker.io/library/ruby:3.1 index.docker.io/ruby:3"},
		{"ruby", func(c string) bool { return c == hub("library/ruby:latest") }, "ruby library/ruby:latest"},
		{"docker.io/library/*:3", func(c string) bool {
			return strings.HasPrefix(c, hub("library/")) && strings.HasSuffix(c, ":3") && strings.Count(c, "/") == 2
		}, "ruby:3"},
		{"group/*:*", func(c string) bool {
			return strings.HasPrefix(c, hub("group/")) && strings.Count(c, "/") == 2
		}, "group/app:3 docker.io/group/app"},
		{"good.example.com/**", func(c string) bool {
			return strings.HasPrefix(c, "good.example.com/") || strings.HasPrefix(c, "good.example.com:443/")
		}, "good.example.com/ruby GOOD.example.com/group/app:3 good.example.com:443/evil"},
		{"good.example.com:5000/group/**", func(c string) bool { return strings.HasPrefix(c, "good.example.com:5000/group/") }, "good.example.com:5000/group/app/evil:3"},
		{"localhost/*:*", func(c string) bool { return strings.HasPrefix(c, "localhost/") }, "localhost/ruby:3"},
		{"ruby@" + digest, func(c string) bool { return c == hub("library/ruby@"+digest) }, "ruby@" + digest + " docker.io/ruby:3@" + digest},
		{"** !**/evil/** !evil/** !evil.io/** !evil", func(c string) bool {
			return !strings.HasPrefix(c, "sha256:") && !strings.HasPrefix(c, "evil.io") && !strings.Contains(c, "/evil/") && !strings.HasPrefix(c, hub("library/evil:"))
		}, "ruby:3 good.example.com/group/app"},
		{"** !docker.io/**", func(c string) bool { return !strings.HasPrefix(c, "docker.io") && !strings.HasPrefix(c, "sha256:") }, "good.example.com/ruby localhost/ruby"},
	} {
		t.Run(tc.patterns, func(t *testing.T) {
			t.Parallel()
			list := strings.Fields(tc.patterns)
			r := images.Rules{AllowedImages: list, AllowedServices: list, PrivilegedImages: list, PrivilegedService: list}
			for i, name := range all {
				canonical := canonicals[name]
				if strings.ContainsAny(canonical, " \t\n\x00$%") || canonical != strings.TrimSpace(canonical) {
					t.Errorf("%q is canonically %q", name, canonical)
				}
				may := canonical != "" && tc.may(canonical)
				if let := r.CheckImage(name) == nil; let && !may {
					t.Errorf("the image %q gets through and is %q", name, canonical)
				} else if (let || i%9 == 0) && (let != (r.CheckService(name) == nil) || let != r.Privileged(name) || let != r.PrivilegedServices(name)) {
					t.Errorf("lists differ about %q", name)
				}
			}
			for name := range strings.FieldsSeq(tc.must) {
				if err := r.CheckImage(name); err != nil {
					t.Errorf("%q is refused: %v", name, err)
				}
			}
		})
	}
}

// TestAttacksOnOwn: what the configuration itself names is allowed, and nothing that only looks like it.
func TestAttacksOnOwn(t *testing.T) {
	t.Parallel()
	r := images.Rules{AllowedImages: []string{"other:*"}, AllowedServices: []string{"other:*"}}
	for i, name := range names() {
		ref, err := images.Parse(name)
		same := err == nil && ref.Canonical() == "docker.io/library/ruby:3"
		if got := r.CheckImage(name, "ruby:3") == nil; got != same {
			t.Errorf("%q is allowed: %v", name, got)
		}
		if i%9 == 0 && r.CheckService(name, "", " ", "$X") == nil {
			t.Errorf("the service %q is allowed by names that are none", name)
		}
	}
}

// TestAttacksOnPolicies: a job has no policy that is not allowed, however it writes it.
func TestAttacksOnPolicies(t *testing.T) {
	t.Parallel()
	r := images.Rules{PullPolicy: []string{"always"}}
	for _, list := range [][]string{
		{"never"}, {"if-not-present"}, {"NEVER"}, {" never"}, {"never "}, {"Always"}, {""}, {"always,never"}, {"$POLICY"}, {"if_not_present"}, {"missing"},
	} {
		if got, err := r.Policies(list); err == nil {
			t.Errorf("%q gives %q", list, got)
		}
	}
	for _, list := range [][]string{{"never", "always"}, {"always", "if-not-present", "never"}} {
		if got, err := r.Policies(list); err != nil || len(got) != 1 || got[0] != "always" {
			t.Errorf("%q gives %q, %v", list, got, err)
		}
	}
}
