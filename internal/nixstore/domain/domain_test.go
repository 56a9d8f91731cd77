package domain_test

import (
	"regexp"
	"testing"

	"gitlab.com/skerry/skerry/internal/nixstore/domain"
)

func trusts() []domain.Trust {
	return []domain.Trust{domain.All, domain.Runner, domain.Protected, domain.Project, domain.Job}
}

var base = domain.Subject{Owner: "abc123", Scope: "0011aabb", Project: 42, Protected: true, Ref: "abc123/0123456789abcdef"}

func of(t *testing.T, trust domain.Trust, s domain.Subject) domain.Domain {
	t.Helper()
	d, err := domain.Of(trust, s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestWhoShares changes one thing of a job and says with which trust it is still in the same domain.
func TestWhoShares(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*domain.Subject)
		shared map[domain.Trust]bool
	}{
		"another owner": {func(s *domain.Subject) { s.Owner = "def456" }, nil},
		"another entry": {func(s *domain.Subject) { s.Scope = "ccdd2233" }, map[domain.Trust]bool{domain.All: true}},
		"another project": {func(s *domain.Subject) { s.Project = 43 },
			map[domain.Trust]bool{domain.All: true, domain.Runner: true, domain.Protected: true}},
		"not protected, or not known to be": {func(s *domain.Subject) { s.Protected = false },
			map[domain.Trust]bool{domain.All: true, domain.Runner: true}},
		"another job": {func(s *domain.Subject) { s.Ref = "abc123/fedcba9876543210" },
			map[domain.Trust]bool{domain.All: true, domain.Runner: true, domain.Protected: true, domain.Project: true}},
		"the same job": {func(*domain.Subject) {},
			map[domain.Trust]bool{domain.All: true, domain.Runner: true, domain.Protected: true, domain.Project: true, domain.Job: true}},
	} {
		for _, trust := range trusts() {
			t.Run(name+", "+string(trust), func(t *testing.T) {
				t.Parallel()
				other := base
				c.change(&other)
				a, b := of(t, trust, base), of(t, trust, other)
				if same := a.Name == b.Name; same != c.shared[trust] || same != (a == b) {
					t.Errorf("%s and %s: shared: %t", a.Name, b.Name, same)
				}
			})
		}
	}
}

// TestNeverTheSame wants every combination to have a name of its own, also those whose parts, put one after the other,
// read alike.
func TestNeverTheSame(t *testing.T) {
	t.Parallel()
	names := map[string]domain.Domain{}
	safe := regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	for _, trust := range trusts() {
		for _, owner := range []string{"a", "a-nix", "aa"} {
			for _, scope := range []string{"1", "11", "1a", "-open", "\x00", "a"} {
				for _, project := range []int64{1, 11, 111, -1} {
					for _, protected := range []bool{true, false} {
						for _, ref := range []string{"1", "11", "a/1"} {
							d := of(t, trust, domain.Subject{Owner: owner, Scope: scope, Project: project, Protected: protected, Ref: ref})
							if other, taken := names[d.Name]; taken && other != d {
								t.Errorf("%+v and %+v are both %s", other, d, d.Name)
							}
							names[d.Name] = d
							if !safe.MatchString(d.Name) || len(d.Name) > len(owner)+50 {
								t.Errorf("the name %q", d.Name)
							}
							if d.Protected && !protected {
								t.Errorf("%+v: an unprotected job is let into a protected domain", d)
							}
						}
					}
				}
			}
		}
	}
	if want := 3 * (1 + 6 + 6*2 + 6*4*2 + 6*4*2*3); len(names) != want {
		t.Errorf("%d domains, want %d", len(names), want)
	}
}

func TestWhatIsMissing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		trust   domain.Trust
		subject domain.Subject
		bad     bool
	}{
		"no owner":              {domain.All, domain.Subject{Scope: "s", Project: 1, Ref: "r"}, true},
		"no entry":              {domain.Runner, domain.Subject{Owner: "o", Project: 1, Ref: "r"}, true},
		"no entry needed":       {domain.All, domain.Subject{Owner: "o"}, false},
		"no project":            {domain.Project, domain.Subject{Owner: "o", Scope: "s", Ref: "r"}, true},
		"no project needed":     {domain.Protected, domain.Subject{Owner: "o", Scope: "s"}, false},
		"no ref":                {domain.Job, domain.Subject{Owner: "o", Scope: "s", Project: 1}, true},
		"no trust":              {"", base, true},
		"a trust of tomorrow":   {"group", base, true},
		"a trust in upper case": {"JOB", base, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := domain.Of(c.trust, c.subject)
			if (err != nil) != c.bad || err != nil && d != (domain.Domain{}) {
				t.Errorf("%+v, %v", d, err)
			}
		})
	}
}

// TestNamesStay holds names that stores on disk have: another one loses them.
func TestNamesStay(t *testing.T) {
	t.Parallel()
	for trust, want := range map[domain.Trust][2]string{
		domain.All:       {"skerry-abc123-nix-all-114758fa3bce655bf8c9", "all runners"},
		domain.Runner:    {"skerry-abc123-nix-runner-1359c5454871674e19e1", "the runner"},
		domain.Protected: {"skerry-abc123-nix-protected-closed-821792f43ee37cca3816", "the runner, protected refs"},
		domain.Project:   {"skerry-abc123-nix-project-closed-14c45624c288db2670ba", "project 42, protected refs"},
		domain.Job:       {"skerry-abc123-nix-job-closed-3d1aacda895ca82ec14f", "the job abc123/0123456789abcdef"},
	} {
		d := of(t, trust, base)
		if d.Name != want[0] || d.String() != want[1] {
			t.Errorf("%s: %q, %q", trust, d.Name, d.String())
		}
	}
}
