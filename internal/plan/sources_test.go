package plan_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/plan"
	"gitlab.com/skerry/skerry/internal/stage"
)

func gitJob(url string, vars ...job.Variable) *job.Job {
	vars = append(vars, job.Variable{Key: "CI_SERVER_URL", Value: "https://gitlab.example/root"}, job.Variable{Key: "CI_PROJECT_PATH", Value: "group/app"})
	return &job.Job{ID: 1, Token: "job-token", ProjectPath: "root/group/app", Git: job.Git{URL: url}, Variables: vars}
}

// Where sources come from and who gets the login, for each way to say it (GitLab Runner's helpers/url/gitauth_test.go has the same cases).
func TestRepositoryAddress(t *testing.T) {
	t.Parallel()
	const repo = "https://gitlab-ci-token:in-url@gitlab.example/root/group/app.git"
	tests := map[string]struct {
		url, clone string
		want       stage.Sources
		base       string
	}{
		"as GitLab says": {repo, "", stage.Sources{URL: "https://gitlab.example/root/group/app.git", Username: "gitlab-ci-token", Password: "in-url",
			Trusted: []string{"https://gitlab.example", "http://internal:8080"}}, "http://internal:8080"},
		"without login": {"http://gitlab.example:81/group/app.git", "", stage.Sources{URL: "http://gitlab.example:81/group/app.git", Username: "gitlab-ci-token",
			Password: "job-token", Trusted: []string{"http://gitlab.example:81", "http://internal:8080", "https://gitlab.example"}}, "http://internal:8080"},
		"clone_url": {repo, "http://10.0.0.1/", stage.Sources{URL: "http://10.0.0.1/group/app.git", Username: "gitlab-ci-token", Password: "job-token",
			Trusted: []string{"https://gitlab.example", "http://internal:8080"}}, "http://10.0.0.1/"},
		"clone_url with a path": {repo, "https://proxy.example:8443/git", stage.Sources{URL: "https://proxy.example:8443/git/group/app.git", Username: "gitlab-ci-token",
			Password: "job-token", Trusted: []string{"https://gitlab.example", "http://internal:8080"}}, "https://proxy.example:8443/git"},
		"clone_url over SSH": {repo, "ssh://gitlab.example:2222", stage.Sources{URL: "ssh://git@gitlab.example:2222/group/app.git", Username: "",
			Trusted: []string{"https://gitlab.example", "http://internal:8080"}}, "ssh://gitlab.example:2222"},
		"clone_url over SSH as somebody": {repo, "ssh://me@gitlab.example", stage.Sources{URL: "ssh://me@gitlab.example/group/app.git", Username: "me",
			Trusted: []string{"https://gitlab.example", "http://internal:8080"}}, "ssh://gitlab.example"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := plan.New(gitJob(tt.url), plan.Runner{URL: "http://internal:8080", CloneURL: tt.clone, BuildsDir: "/b", CacheDir: "/c"}, plan.Slot{}, plan.Version{})
			if err != nil {
				t.Fatal(err)
			}
			got := p.Sources().Spec.Sources
			if diff := cmp.Diff(tt.want, stage.Sources{URL: got.URL, Username: got.Username, Password: got.Password, Trusted: got.Trusted}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got.Submodules.ServerURL != tt.base {
				t.Errorf("submodules come from %q, want %q", got.Submodules.ServerURL, tt.base)
			}
		})
	}
}

func TestSubmodulePathsThatExcludeNothing(t *testing.T) {
	t.Parallel()
	_, err := plan.New(gitJob("https://gitlab.example/group/app.git", job.Variable{Key: "GIT_SUBMODULE_PATHS", Value: ":(exclude) libs"}),
		plan.Runner{BuildsDir: "/b", CacheDir: "/c"}, plan.Slot{}, plan.Version{})
	var failure *executor.Failure
	if !errors.As(err, &failure) || failure.Reason != job.ReasonConfiguration {
		t.Errorf("error %v", err)
	}
}
