package gitlabtest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/breach"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/call"
)

// RunnerSpec is a runner as somebody would create it on the server.
type RunnerSpec struct {
	Token          string // empty: a random one that begins with "glrt-"
	Description    string
	Tags           []string
	TaggedOnly     bool // takes only jobs with tags (run_untagged off)
	ProtectedOnly  bool // takes only jobs of protected refs (access_level ref_protected)
	Paused         bool
	Locked         bool
	MaximumTimeout time.Duration // 0: none
	TokenExpires   time.Time     // zero: never
}

// Runner is a registered runner.
type Runner struct {
	ID int64
	RunnerSpec
	Managers []string // the system ids seen
	Contact  time.Time
	Info     gitlab.Info // of the last request that had one
}

type runner struct {
	Runner
	version  string          // queue value: changes when a job comes that this runner could take
	versions map[string]bool // all that there have been
	bumped   chan struct{}   // closed when version changes
}

// AddRunner creates a runner on the server, as GitLab's UI does.
func (c *Coordinator) AddRunner(spec RunnerSpec) Runner {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addRunner(spec, "glrt-").Runner
}

func (c *Coordinator) addRunner(spec RunnerSpec, prefix string) *runner {
	if spec.Token == "" {
		spec.Token = prefix + random(10)
	}
	r := &runner{Runner: Runner{ID: c.id(), RunnerSpec: spec}, versions: map[string]bool{}, bumped: make(chan struct{})}
	r.bump()
	c.runners[spec.Token] = r
	return r
}

// Runners returns all runners, in the order of their ids.
func (c *Coordinator) Runners() []Runner {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Runner
	for _, r := range c.runners {
		one := r.Runner
		one.Managers = slices.Clone(r.Managers)
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b Runner) int { return int(a.ID - b.ID) })
	return all
}

// RemoveRunner deletes a runner on the server: its requests get 403 from now on. Its jobs go on.
func (c *Coordinator) RemoveRunner(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removeRunner(token)
}

func (c *Coordinator) removeRunner(token string) {
	if r := c.runners[token]; r != nil {
		delete(c.runners, token)
		r.bump()
	}
}

func (r *runner) bump() {
	r.version = random(16)
	r.versions[r.version] = true
	close(r.bumped)
	r.bumped = make(chan struct{})
}

// takes says whether the runner may run the job, by GitLab's rules.
func (r *runner) takes(j *record) bool {
	if r.Paused || (len(j.spec.Tags) == 0 && r.TaggedOnly) || (r.ProtectedOnly && !j.spec.Protected) {
		return false
	}
	for _, tag := range j.spec.Tags {
		if !slices.Contains(r.Tags, tag) {
			return false
		}
	}
	return true
}

// runnerToken checks the two places where a runner's token stands.
func (c *Coordinator) runnerToken(k *call.Call, token string) {
	if h := k.Request.Header.Get(gitlab.HeaderRunnerToken); h != token {
		what := "is missing"
		if h != "" {
			what = "differs from the body's token"
		}
		c.breach(breach.RunnerToken, 0, "%s %s: header %s %s", k.Request.Method, k.Request.URL.Path, gitlab.HeaderRunnerToken, what)
	}
}

// authenticate finds the runner and notes the contact; nil means that 403 has been answered. The caller holds mu.
func (c *Coordinator) authenticate(k *call.Call, token, systemID string, info *gitlab.Info) *runner {
	now := c.opts.Clock.Now()
	r := c.runners[token]
	if r == nil || (!r.TokenExpires.IsZero() && !now.Before(r.TokenExpires)) {
		k.Fail(http.StatusForbidden, "403 Forbidden")
		return nil
	}
	r.Contact = now
	if systemID != "" && !slices.Contains(r.Managers, systemID) {
		r.Managers = append(r.Managers, systemID)
	}
	if info != nil {
		r.Info = *info
	}
	return r
}

func (c *Coordinator) register(k *call.Call) {
	var req gitlab.RegisterRequest
	if !c.decode(k, &req) {
		return
	}
	c.runnerToken(k, req.Token)
	if req.Token != c.opts.RegistrationToken {
		k.Fail(http.StatusForbidden, "403 Forbidden - invalid token supplied")
		return
	}
	if msg := invalidRegistration(&req); msg != nil {
		k.JSON(http.StatusBadRequest, gitlab.Message{Message: msg})
		return
	}
	spec := RunnerSpec{
		Description: req.Description, Tags: splitTags(req.TagList), TaggedOnly: !req.RunUntagged, Locked: req.Locked,
		ProtectedOnly: req.AccessLevel == "ref_protected", Paused: req.Paused,
		MaximumTimeout: time.Duration(req.MaximumTimeout) * time.Second,
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.addRunner(spec, "")
	r.Info = req.Info
	k.JSON(http.StatusCreated, registered(r))
}

// invalidRegistration are the validations of GitLab's Ci::Runner that a request can violate.
func invalidRegistration(req *gitlab.RegisterRequest) map[string][]string {
	switch {
	case !req.RunUntagged && len(splitTags(req.TagList)) == 0:
		return map[string][]string{"tags_list": {"can not be empty when runner is not allowed to pick untagged jobs"}}
	case req.AccessLevel != "" && req.AccessLevel != "not_protected" && req.AccessLevel != "ref_protected":
		return map[string][]string{"access_level": {"does not have a valid value"}}
	case req.MaximumTimeout != 0 && req.MaximumTimeout < 600:
		return map[string][]string{"maximum_timeout": {"needs to be at least 10 minutes"}}
	}
	return nil
}

func splitTags(list string) []string {
	var tags []string
	for tag := range strings.SplitSeq(list, ",") {
		if tag = strings.TrimSpace(tag); tag != "" {
			tags = append(tags, tag)
		}
	}
	return tags
}

func registered(r *runner) gitlab.Registered {
	out := gitlab.Registered{ID: r.ID, Token: r.Token}
	if !r.TokenExpires.IsZero() {
		at := r.TokenExpires.UTC()
		out.TokenExpiresAt = &at
	}
	return out
}

func (c *Coordinator) verify(k *call.Call) {
	var req gitlab.VerifyRequest
	if !c.decode(k, &req) {
		return
	}
	c.runnerToken(k, req.Token)
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.authenticate(k, req.Token, req.SystemID, &req.Info); r != nil {
		k.JSON(http.StatusOK, registered(r))
	}
}

func (c *Coordinator) unregister(k *call.Call) {
	var req gitlab.TokenRequest
	if !c.decode(k, &req) {
		return
	}
	c.runnerToken(k, req.Token)
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.authenticate(k, req.Token, "", nil); r != nil {
		c.removeRunner(r.Token)
		k.Status = http.StatusNoContent
	}
}

func (c *Coordinator) unregisterManager(k *call.Call) {
	var req gitlab.ManagerRequest
	if !c.decode(k, &req) {
		return
	}
	c.runnerToken(k, req.Token)
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.authenticate(k, req.Token, "", nil)
	if r == nil {
		return
	}
	i := slices.Index(r.Managers, req.SystemID)
	if i < 0 {
		k.Fail(http.StatusNotFound, "404 Not found - Runner manager not found")
		return
	}
	r.Managers = slices.Delete(r.Managers, i, i+1)
	k.Status = http.StatusNoContent
}

// resetToken gives the runner a new token; GitLab Runner sends no RUNNER-TOKEN here.
func (c *Coordinator) resetToken(k *call.Call) {
	var req gitlab.TokenRequest
	if !c.decode(k, &req) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.authenticate(k, req.Token, "", nil)
	if r == nil {
		return
	}
	c.renew(k, r)
}

// resetTokenAs is resetToken for a user. Source: lib/api/ci/runners.rb.
func (c *Coordinator) resetTokenAs(k *call.Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.Request.Header.Get(gitlab.HeaderPrivateToken) != c.opts.UserToken {
		k.Fail(http.StatusUnauthorized, "401 Unauthorized")
		return
	}
	for _, r := range c.runners {
		if strconv.FormatInt(r.ID, 10) == k.Request.PathValue("id") {
			c.renew(k, r)
			return
		}
	}
	k.Fail(http.StatusNotFound, "404 Runner Not Found")
}

// renew gives r another token. The caller holds mu.
func (c *Coordinator) renew(k *call.Call, r *runner) {
	delete(c.runners, r.Token)
	prefix := ""
	if strings.HasPrefix(r.Token, "glrt-") {
		prefix = "glrt-"
	}
	if !r.TokenExpires.IsZero() {
		r.TokenExpires = c.opts.Clock.Now().Add(tokenLife)
	}
	r.Token = prefix + random(10)
	c.runners[r.Token] = r
	answer := registered(r)
	answer.ID = 0
	k.JSON(http.StatusCreated, answer)
}

// tokenLife is how long a token lives after a reset, when the runner's tokens expire at all.
const tokenLife = 30 * 24 * time.Hour
