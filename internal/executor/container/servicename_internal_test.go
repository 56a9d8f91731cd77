package container

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestServiceNames compares with what GitLab Runner makes of the same names.
func TestServiceNames(t *testing.T) {
	t.Parallel()
	digest := "@sha256:" + strings.Repeat("12345678", 8)
	for _, c := range []struct {
		image   string
		service string
		version string
		aliases []string
	}{
		{"service", "service", "latest", []string{"service"}},
		{"service:version", "service", "version", []string{"service"}},
		{"namespace/service", "namespace/service", "latest", []string{"namespace__service", "namespace-service"}},
		{"namespace/service:version", "namespace/service", "version", []string{"namespace__service", "namespace-service"}},
		{"domain.tld/service", "domain.tld/service", "latest", []string{"domain.tld__service", "domain.tld-service"}},
		{"domain.tld/a/b/c/d:v1.2", "domain.tld/a/b/c/d", "v1.2", []string{"domain.tld__a__b__c__d", "domain.tld-a-b-c-d"}},
		{"domain.tld:8080/service", "domain.tld/service", "latest", []string{"domain.tld__service", "domain.tld-service"}},
		{"domain.tld:8080/namespace/service:version", "domain.tld/namespace/service", "version", []string{"domain.tld__namespace__service", "domain.tld-namespace-service"}},
		{"sub.domain.tld:8080/service", "sub.domain.tld/service", "latest", []string{"sub.domain.tld__service", "sub.domain.tld-service"}},
		{"localhost:5000/service", "localhost/service", "latest", []string{"localhost__service", "localhost-service"}},
		{"service" + digest, "service", digest, []string{"service"}},
		{"service:16" + digest, "service", "16", []string{"service"}},
		{"domain.tld:8080/namespace/service" + digest, "domain.tld/namespace/service", digest, []string{"domain.tld__namespace__service", "domain.tld-namespace-service"}},
		{"a__b/c_d", "a__b/c_d", "latest", []string{"a__b__c_d", "a__b-c_d"}},
		{"", "", "latest", nil},
		{"Not A Name", "", "latest", nil},
		{"UPPER", "", "latest", nil},
	} {
		got := parseServiceName(c.image)
		if diff := cmp.Diff(serviceName{c.service, c.version, c.aliases}, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.image, diff)
		}
	}
	for alias, want := range map[string][]string{
		"": {}, "db": {"db"}, "db, cache": {"db", "cache"}, " db,,cache  third\n": {"db", "cache", "third"},
	} {
		if diff := cmp.Diff(want, givenAliases(alias)); diff != "" {
			t.Errorf("alias %q (-want +got):\n%s", alias, diff)
		}
	}
}
