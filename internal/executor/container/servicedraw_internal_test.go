package container

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/job"
)

func TestDrawServices(t *testing.T) {
	t.Parallel()
	one, none := 1, -1
	vars := job.Variables{
		{Key: "VERSION", Value: "16", Public: true}, {Key: "SECRET", Value: "s3cret"}, {Key: "KEYFILE", Value: "content", Public: true, File: true},
		{Key: "RUNNER_TEMP_PROJECT_DIR", Value: "/builds/g/p.tmp", Public: true}, {Key: "WHO", Value: "first", Public: true}, {Key: "WHO", Value: "job", Public: true},
	}
	own := func(pairs ...string) job.Variables {
		var out job.Variables
		for _, p := range pairs {
			k, v, _ := strings.Cut(p, "=")
			out = append(out, job.Variable{Key: k, Value: v})
		}
		return out
	}
	public := "VERSION=16 KEYFILE=/builds/g/p.tmp/KEYFILE RUNNER_TEMP_PROJECT_DIR=/builds/g/p.tmp WHO=job"
	for name, c := range map[string]struct {
		o        Options
		services []job.Image
		want     []string // title: aliases: environment
		warnings []string
		fails    string
	}{
		"none": {},
		"the job's variables that may be shown, and its own": {
			services: []job.Image{{Name: "db:16", Alias: "a,b", Variables: own("PASSWORD=$SECRET!", "PATH_TO=$KEYFILE", "SELF=$OTHER", "OTHER=x", "WHO=service")}},
			want: []string{"db:16: db a b: " + strings.TrimSuffix(public, " WHO=job") +
				" PASSWORD=s3cret! PATH_TO=/builds/g/p.tmp/KEYFILE SELF=x OTHER=x WHO=service"},
		},
		"the runner's before the job's": {
			o:        Options{Services: []ServiceImage{{Image: job.Image{Name: "r/cache:$VERSION", Alias: "cache-$VERSION", Variables: own("A=of $WHO")}}}},
			services: []job.Image{{Name: "db"}},
			want:     []string{"r/cache:16: r__cache r-cache cache-16: " + public + " A=of job", "db:latest: db: " + public},
		},
		"names that are taken": {
			services: []job.Image{{Name: "db", Alias: "db one"}, {Name: "db:2", Alias: "two,one"}, {Name: "db:3", Alias: "two"}},
			want:     []string{"db:latest: db one: " + public, "db:2: two: " + public},
			warnings: []string{
				`Skipping alias "db" for service "db:2" (services[1]): alias is already in use by another service.`,
				`Skipping alias "one" for service "db:2" (services[1]): alias is already in use by another service.`,
				`Skipping alias "db" for service "db:3" (services[2]): alias is already in use by another service.`,
				`Skipping alias "two" for service "db:3" (services[2]): alias is already in use by another service.`,
			},
		},
		"within the limit":    {o: Options{ServicesLimit: &one}, services: []job.Image{{Name: "a"}}, want: []string{"a:latest: a: " + public}},
		"beyond the limit":    {o: Options{ServicesLimit: &one}, services: []job.Image{{Name: "a"}, {Name: "b"}}, fails: "too many services requested: 2, only 1 allowed"},
		"without a limit":     {o: Options{ServicesLimit: &none}, services: []job.Image{{Name: "a"}}, want: []string{"a:latest: a: " + public}},
		"not a name":          {services: []job.Image{{Name: "No Name"}}, fails: "invalid service image name: No Name"},
		"not a port":          {services: []job.Image{{Name: "a", Variables: own("HEALTHCHECK_TCP_PORT=http")}}, fails: `service "a:latest": HEALTHCHECK_TCP_PORT is "http", which is not a port: use a number from 1 to 65535`},
		"names of no service": {services: []job.Image{{Name: "a", Variables: own("=x", "B=1")}}, want: []string{"a:latest: a: " + public + " B=1"}},
		"no entrypoint of the job's": {
			o: Options{EntrypointIsKept: true}, services: []job.Image{{Name: "a", Entrypoint: []string{"/x"}}},
			want: []string{"a:latest: a: " + public}, warnings: []string{"Entrypoint override disabled"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parts, warnings, err := (&Executor{o: c.o}).drawServices(executor.NewRef("o"), &job.Job{Variables: vars, Services: c.services})
			var failure *executor.Failure
			if fmt.Sprint(err) != c.fails && (err != nil || c.fails != "") || err != nil && (!errors.As(err, &failure) || failure.Reason != job.ReasonConfiguration) {
				t.Errorf("error %v, want %q", err, c.fails)
			}
			var got []string
			for _, p := range parts {
				got = append(got, p.Title+": "+strings.Join(p.Aliases, " ")+": "+strings.Join(p.Env, " "))
				if p.Entrypoint != nil {
					t.Errorf("entrypoint %q", p.Entrypoint)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.warnings, warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHealthPorts(t *testing.T) {
	t.Parallel()
	p := &servicePart{part: part{Env: []string{"A=1", "healthcheck_tcp_port=8080"}}}
	if port, err := p.health([]string{"HEALTHCHECK_TCP_PORT=81"}); port != 8080 || err != nil {
		t.Errorf("the service's own: %d, %v", port, err)
	}
	if port, err := (&servicePart{}).health([]string{"HEALTHCHECK_TCP_PORT=81"}); port != 81 || err != nil {
		t.Errorf("the image's: %d, %v", port, err)
	}
	var many []string
	for i := range 30 {
		many = append(many, fmt.Sprintf("%d/tcp", 1030-i))
	}
	if got := tcpPorts(append(many, "53/udp", "x/tcp", "80")); len(got) != maxPorts || got[0] != 80 || got[1] != 1001 {
		t.Errorf("ports %v", got)
	}
}
