package gitlabtest

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/breach"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/call"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/store"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

// Artifact is a stored artifact of a job.
type Artifact struct {
	Type     string // "archive", "junit", …
	Format   string // "zip", "gzip", "raw"
	Filename string
	ExpireIn string
	Size     int64
	SHA256   string // hex
	Path     string // where it is stored
	Metadata string // where the metadata beside an archive is stored; empty when the runner sent none
}

// receive reads an upload's body to disk. The error is of the connection.
func (c *Coordinator) receive(k *call.Call) (*store.Upload, error) {
	if ct := k.Request.Header.Get("Content-Type"); !strings.HasPrefix(ct, "multipart/form-data") {
		c.breach(breach.ContentType, k.Job, "artifact upload: Content-Type is %q, not multipart/form-data", ct)
	}
	u := store.Receive(k.Request, filepath.Join(c.opts.Dir, "uploads"), c.opts.MaxArtifact)
	return u, k.Request.Context().Err()
}

// upload is POST /jobs/:id/artifacts. Source: JobArtifacts::CreateService.
func (c *Coordinator) upload(k *call.Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.jobCall(k, "")
	if j == nil {
		return
	}
	u, q := k.Upload, k.Request.URL.Query()
	if u.Err != nil || u.File == nil {
		c.breach(breach.Body, j.id, "artifact upload: no form field %q (%v)", gitlab.FormFile, u.Err)
		k.Fail(http.StatusBadRequest, "400 Bad request - file is missing")
		return
	}
	if len(u.Extra) > 0 {
		c.breach(breach.Body, j.id, "artifact upload: unknown form fields %q", u.Extra)
	}
	a := &Artifact{
		Type: q.Get(gitlab.QueryArtifactType), Format: q.Get(gitlab.QueryArtifactFormat), ExpireIn: q.Get(gitlab.QueryExpireIn),
		Filename: u.File.Name, Size: u.File.Size, SHA256: u.File.SHA256,
	}
	if a.Type == "" {
		a.Type = "archive"
	}
	if a.Format == "" {
		a.Format = "zip"
	}
	status, message := c.keep(j, a, u)
	c.event(j, EventUpload, status, fmt.Sprintf("%s %s %d bytes", a.Type, a.Filename, a.Size))
	if status == http.StatusCreated {
		k.Text(status)
		return
	}
	k.Fail(status, message)
}

// keep validates and stores an upload, and returns the answer. The caller holds mu.
func (c *Coordinator) keep(j *record, a *Artifact, u *store.Upload) (int, string) {
	if u.File.TooLarge {
		return http.StatusRequestEntityTooLarge, "413 Request Entity Too Large - file size has reached maximum size limit"
	}
	if old := j.artifacts[a.Type]; old != nil {
		if old.SHA256 == a.SHA256 {
			return http.StatusCreated, ""
		}
		return http.StatusBadRequest, "400 Bad request - another artifact of the same type already exists"
	}
	c.checkAsked(j, a)
	if err := store.Check(u.File.Path, a.Format); err != nil {
		c.breach(breach.Artifact, j.id, "%s artifact: %v", a.Type, err)
		return http.StatusBadRequest, "400 Bad request - " + err.Error()
	}
	if a.Type == "dotenv" {
		vars, err := store.Dotenv(u.File.Path)
		if err != nil {
			return http.StatusBadRequest, "400 Bad request - " + err.Error()
		}
		for _, v := range vars {
			j.dotenv = append(j.dotenv, jobpayload.Variable{Key: v.Key, Value: v.Value})
		}
	}
	base := filepath.Join(c.opts.Dir, "artifacts", strconv.FormatInt(j.id, 10)+"-"+filepath.Base(a.Type))
	a.Path = base
	if err := os.Rename(u.File.Path, a.Path); err != nil {
		return http.StatusInternalServerError, "500 Internal Server Error"
	}
	if u.Metadata != nil {
		a.Metadata = base + "-metadata"
		if err := os.Rename(u.Metadata.Path, a.Metadata); err != nil {
			return http.StatusInternalServerError, "500 Internal Server Error"
		}
	}
	j.artifacts[a.Type] = a
	return http.StatusCreated, ""
}

// checkAsked records an artifact that the payload does not ask for, or asks for differently.
func (c *Coordinator) checkAsked(j *record, a *Artifact) {
	i := slices.IndexFunc(j.spec.Artifacts, func(s jobpayload.Artifact) bool {
		return s.ArtifactType == a.Type || (s.ArtifactType == "" && a.Type == "archive")
	})
	if i < 0 {
		c.breach(breach.Artifact, j.id, "the job has no artifact of type %q", a.Type)
		return
	}
	want := j.spec.Artifacts[i]
	if want.ArtifactFormat != "" && want.ArtifactFormat != a.Format {
		c.breach(breach.Artifact, j.id, "%s artifact in format %q instead of %q", a.Type, a.Format, want.ArtifactFormat)
	}
	if want.ExpireIn != "" && want.ExpireIn != a.ExpireIn {
		c.breach(breach.Artifact, j.id, "%s artifact with expire_in %q instead of %q", a.Type, a.ExpireIn, want.ExpireIn)
	}
}

// download is GET /jobs/:id/artifacts: with the job's own token, or with that of a running job
// that depends on it.
func (c *Coordinator) download(k *call.Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	token := k.Request.Header.Get(gitlab.HeaderJobToken)
	j, asks := c.jobs[k.Job], c.byToken[token]
	switch {
	case token == "":
		c.breach(breach.JobTokenHeader, k.Job, "GET %s: header %s is missing", k.Request.URL.Path, gitlab.HeaderJobToken)
		k.Fail(http.StatusUnauthorized, "401 Unauthorized")
		return
	case j == nil || asks == nil || c.tokenDead(asks, c.opts.Clock.Now()):
		c.breach(breach.JobToken, k.Job, "GET %s: not a token that may read it", k.Request.URL.Path)
		k.Fail(http.StatusForbidden, "403 Forbidden")
		return
	case asks.reported != "":
		c.breach(breach.AfterEnd, asks.id, "asks for artifacts of job %d after the accepted final state %s", j.id, asks.reported)
		k.Fail(http.StatusForbidden, "403 Forbidden")
		return
	case asks != j && !slices.Contains(asks.spec.Dependencies, j.id):
		c.breach(breach.Download, asks.id, "asks for the artifacts of job %d, which it does not depend on", j.id)
		k.Fail(http.StatusForbidden, "403 Forbidden")
		return
	}
	a := j.artifacts["archive"]
	if a == nil {
		c.event(j, EventDownload, http.StatusNotFound, "")
		k.Fail(http.StatusNotFound, "404 Not Found")
		return
	}
	if k.Request.URL.Query().Get(gitlab.QueryDirectDownload) == "true" {
		k.Status = http.StatusFound
		k.Header.Set("Location", c.URL()+"/storage/"+filepath.Base(a.Path)+"?X-Amz-Signature="+signature(a))
		c.event(j, EventDownload, http.StatusFound, "")
		return
	}
	k.Status, k.File = http.StatusOK, a.Path
	k.Header.Set("Content-Type", "application/octet-stream")
	k.Header.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", a.Filename))
	c.event(j, EventDownload, http.StatusOK, "")
}

// signature makes a presigned URL's secret of an artifact: enough to see that it was passed on.
func signature(a *Artifact) string { return a.SHA256[:16] }

// storage is the object storage that a direct download is redirected to. The job's token must not
// be sent there.
func (c *Coordinator) storage(k *call.Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := k.Request.PathValue("key")
	id, _, _ := strings.Cut(key, "-")
	n, _ := strconv.ParseInt(id, 10, 64)
	j := c.jobs[n]
	if j == nil {
		k.Fail(http.StatusNotFound, "404 Not Found")
		return
	}
	for _, a := range j.artifacts {
		if filepath.Base(a.Path) != key || k.Request.URL.Query().Get("X-Amz-Signature") != signature(a) {
			continue
		}
		k.Status, k.File = http.StatusOK, a.Path
		c.event(j, EventDownload, http.StatusOK, "from storage at "+c.opts.Clock.Now().UTC().Format(time.RFC3339))
		return
	}
	k.Fail(http.StatusForbidden, "403 Forbidden")
}
