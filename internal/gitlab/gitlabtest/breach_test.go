package gitlabtest_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/breach"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/fault"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

// misdeed is what a runner that breaks one rule does. Its job is running and has logged "hello\n".
type misdeed struct {
	name string
	want breach.Kind
	also breach.Kind // which cannot be avoided then; empty for none
	do   func(d *driver, p *jobpayload.Payload)
}

const hello = "hello\n"

func traceMisdeeds() []misdeed {
	patch := func(d *driver, p *jobpayload.Payload, query, contentType, contentRange string, want int) {
		d.t.Helper()
		d.must("PATCH", "jobs/"+itoa(p.ID)+"/trace"+query, map[string]string{
			gitlab.HeaderJobToken: p.Token, "Content-Type": contentType, "Content-Range": contentRange,
		}, []byte("x"), want)
	}
	return []misdeed{
		{"gap", breach.Gap, "", func(d *driver, p *jobpayload.Payload) { d.patch(p, 9, "x", 416) }},
		{"overlap", breach.Overlap, "", func(d *driver, p *jobpayload.Payload) { d.patch(p, 3, "lo\nx", 416) }},
		{"from the beginning again", breach.Overlap, "", func(d *driver, p *jobpayload.Payload) { d.patch(p, 0, hello, 416) }},
		{"range that does not fit", breach.Range, "", func(d *driver, p *jobpayload.Payload) { patch(d, p, "", "text/plain", "6-7", 202) }},
		{"no range", breach.Range, "", func(d *driver, p *jobpayload.Payload) { patch(d, p, "", "text/plain", "", 400) }},
		{"range with a unit", breach.Range, "", func(d *driver, p *jobpayload.Payload) { patch(d, p, "", "text/plain", "bytes 6-6/7", 400) }},
		{"negative range", breach.Range, "", func(d *driver, p *jobpayload.Payload) { patch(d, p, "", "text/plain", "-1-6", 400) }},
		{"patch of JSON", breach.ContentType, "", func(d *driver, p *jobpayload.Payload) { patch(d, p, "", "application/json", "6-6", 202) }},
		{"debug_trace", breach.DebugTrace, "", func(d *driver, p *jobpayload.Payload) {
			patch(d, p, "?debug_trace=perhaps", "text/plain", "6-6", 202)
		}},
		{"too large", breach.PatchSize, "", func(d *driver, p *jobpayload.Payload) {
			d.patch(p, len(hello), strings.Repeat("x", 1<<20+1), 202)
		}},
		{"empty", breach.PatchSize, "", func(d *driver, p *jobpayload.Payload) { d.patch(p, len(hello), "", 202) }},
		{"no request id", breach.RequestID, "", func(d *driver, p *jobpayload.Payload) {
			d.drop = []string{gitlab.HeaderRequestID}
			d.patch(p, len(hello), "x", 202)
		}},
		{"no token", breach.JobTokenHeader, "", func(d *driver, p *jobpayload.Payload) {
			d.drop = []string{gitlab.HeaderJobToken}
			d.patch(p, len(hello), "x", 403)
		}},
		{"after the end", breach.AfterEnd, "", func(d *driver, p *jobpayload.Payload) {
			d.put(p, final("success", hello), 200)
			d.patch(p, len(hello), "x", 403)
		}},
		{"before running", breach.NotRunning, "", func(d *driver, _ *jobpayload.Payload) { d.patch(d.second(), 0, "x", 403) }},
	}
}

func updateMisdeeds() []misdeed {
	return []misdeed{
		{"checksum", breach.Checksum, "", func(d *driver, p *jobpayload.Payload) { d.put(p, final("success", "hullo\n"), 200) }},
		{"no checksum", breach.Checksum, "", func(d *driver, p *jobpayload.Payload) {
			d.put(p, gitlab.Update{State: "success", Output: gitlab.Output{Bytesize: 6}}, 200)
		}},
		{"two checksums", breach.Checksum, "", func(d *driver, p *jobpayload.Payload) {
			u := final("success", hello)
			u.Checksum = "crc32:00000000"
			d.put(p, u, 200)
		}},
		{"size", breach.Size, "", func(d *driver, p *jobpayload.Payload) {
			u := final("success", hello)
			u.Output.Bytesize = 5
			d.put(p, u, 200)
		}},
		{"second final", breach.SecondFinal, "", func(d *driver, p *jobpayload.Payload) {
			d.put(p, final("success", hello), 200)
			d.put(p, final("success", hello), 403)
		}},
		{"running after the end", breach.SecondFinal, "", func(d *driver, p *jobpayload.Payload) {
			d.put(p, final("success", hello), 200)
			d.put(p, gitlab.Update{State: "running"}, 403)
		}},
		{"reason", breach.Reason, "", func(d *driver, p *jobpayload.Payload) { d.put(p, failed("job_canceled", 0, hello), 200) }},
		{"state", breach.State, "", func(d *driver, p *jobpayload.Payload) { d.put(p, gitlab.Update{State: "canceled"}, 400) }},
		{"no state", breach.State, "", func(d *driver, p *jobpayload.Payload) { d.put(p, gitlab.Update{}, 400) }},
		{"pending again", breach.State, "", func(d *driver, p *jobpayload.Payload) { d.put(p, gitlab.Update{State: "pending"}, 400) }},
		{"success with an exit code", breach.State, "", func(d *driver, p *jobpayload.Payload) {
			u := final("success", hello)
			u.ExitCode = 3
			d.put(p, u, 200)
		}},
		{"another job's token", breach.JobToken, "", func(d *driver, p *jobpayload.Payload) {
			q := *p
			q.Token = "glcbt-nonsense"
			d.put(&q, gitlab.Update{State: "running"}, 403)
		}},
		{"two tokens", breach.JobToken, "", func(d *driver, p *jobpayload.Payload) {
			d.must("PUT", "jobs/"+itoa(p.ID), map[string]string{gitlab.HeaderJobToken: "glcbt-other"},
				marshal(d.t, gitlab.Update{Token: p.Token, State: "running"}), 200)
		}},
		{"unknown job", breach.UnknownJob, "", func(d *driver, p *jobpayload.Payload) {
			q := *p
			q.ID = 1
			d.put(&q, gitlab.Update{State: "running"}, 403)
		}},
		{"no JSON", breach.Body, "", func(d *driver, p *jobpayload.Payload) {
			d.must("PUT", "jobs/"+itoa(p.ID), map[string]string{gitlab.HeaderJobToken: p.Token}, []byte("state=success"), 400)
		}},
		{"no token in the body", breach.Body, "", func(d *driver, p *jobpayload.Payload) {
			d.must("PUT", "jobs/"+itoa(p.ID), map[string]string{gitlab.HeaderJobToken: p.Token}, []byte(`{"state":"running"}`), 200)
		}},
		{"update as text", breach.ContentType, "", func(d *driver, p *jobpayload.Payload) {
			d.must("PUT", "jobs/"+itoa(p.ID), map[string]string{gitlab.HeaderJobToken: p.Token, "Content-Type": "text/plain"},
				marshal(d.t, gitlab.Update{Token: p.Token, State: "running"}), 200)
		}},
		{"too soon", breach.TooSoon, "", func(d *driver, p *jobpayload.Payload) {
			d.c.Fault(fault.Fault{Endpoint: gitlabtest.EndpointUpdate, Status: 429, Header: http.Header{"Retry-After": {"30"}}})
			d.put(p, gitlab.Update{State: "running"}, 429)
			d.put(p, gitlab.Update{State: "running"}, 200)
		}},
		{"unknown route", breach.UnknownRoute, "", func(d *driver, p *jobpayload.Payload) { d.must("GET", "jobs/"+itoa(p.ID), nil, nil, 404) }},
		{"no runner token", breach.RunnerToken, "", func(d *driver, _ *jobpayload.Payload) {
			d.drop = []string{gitlab.HeaderRunnerToken}
			d.ask(204)
		}},
		{"invented last_update", breach.LastUpdate, "", func(d *driver, _ *jobpayload.Payload) {
			d.last = "invented"
			d.ask(204)
		}},
	}
}

func fileMisdeeds(archive []byte) []misdeed {
	download := func(d *driver, p *jobpayload.Payload, token string, want int) {
		d.t.Helper()
		d.must("GET", "jobs/"+itoa(p.ID)+"/artifacts", map[string]string{gitlab.HeaderJobToken: token}, nil, want)
	}
	return []misdeed{
		{"upload without a token", breach.JobTokenHeader, "", func(d *driver, p *jobpayload.Payload) {
			d.drop = []string{gitlab.HeaderJobToken}
			d.upload(p, "archive", "zip", archive, 403)
		}},
		{"upload with another job's token", breach.JobToken, "", func(d *driver, p *jobpayload.Payload) {
			q := *d.second()
			q.ID = p.ID
			d.upload(&q, "archive", "zip", archive, 403)
		}},
		{"upload before running", breach.NotRunning, "", func(d *driver, _ *jobpayload.Payload) {
			d.upload(d.second(), "archive", "zip", archive, 403)
		}},
		{"upload after the end", breach.AfterEnd, "", func(d *driver, p *jobpayload.Payload) {
			d.put(p, final("success", hello), 200)
			d.upload(p, "archive", "zip", archive, 403)
		}},
		{"type that nobody asked for", breach.Artifact, "", func(d *driver, p *jobpayload.Payload) { d.upload(p, "junit", "raw", []byte("x"), 201) }},
		{"format that nobody asked for", breach.Artifact, "", func(d *driver, p *jobpayload.Payload) {
			d.upload(p, "archive", "raw", []byte("x"), 201)
		}},
		{"expire_in that nobody asked for", breach.Artifact, "", func(d *driver, p *jobpayload.Payload) {
			d.upload(p, "dotenv", "gzip&expire_in=1+day", gzipOf(d.t, "A=1\n"), 201)
		}},
		{"broken zip", breach.Artifact, "", func(d *driver, p *jobpayload.Payload) { d.upload(p, "archive", "zip", []byte("x"), 400) }},
		{"upload that is no form", breach.ContentType, breach.Body, func(d *driver, p *jobpayload.Payload) {
			d.must("POST", "jobs/"+itoa(p.ID)+"/artifacts", map[string]string{gitlab.HeaderJobToken: p.Token}, archive, 400)
		}},
		{"unknown field", breach.Body, "", func(d *driver, p *jobpayload.Payload) { d.form(p, "file", "extra") }},
		{"download without a token", breach.JobTokenHeader, "", func(d *driver, p *jobpayload.Payload) { download(d, p, "", 401) }},
		{"download of a stranger's", breach.Download, "", func(d *driver, p *jobpayload.Payload) {
			q := d.second()
			d.put(q, gitlab.Update{State: "running"}, 200)
			download(d, q, p.Token, 403)
		}},
		{"download after the end", breach.AfterEnd, "", func(d *driver, p *jobpayload.Payload) {
			d.put(p, final("success", hello), 200)
			download(d, p, p.Token, 403)
		}},
	}
}

// second makes another job and takes it, without saying that it runs.
func (d *driver) second() *jobpayload.Payload {
	d.t.Helper()
	add(d.t, d.c, gitlabtest.JobSpec{Name: "second"})
	d.twoPh = true
	return d.ask(http.StatusCreated)
}

func zipOf(t *testing.T, name string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	if _, err := w.Create(name); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipOf(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// form uploads an archive in a form with these fields.
func (d *driver) form(p *jobpayload.Payload, fields ...string) {
	d.t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for _, name := range fields {
		f, err := w.CreateFormFile(name, "artifacts.zip")
		if err != nil {
			d.t.Fatal(err)
		}
		if _, err := f.Write(zipOf(d.t, "a")); err != nil {
			d.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		d.t.Fatal(err)
	}
	d.must("POST", fmt.Sprintf("jobs/%d/artifacts?artifact_type=archive&artifact_format=zip", p.ID),
		map[string]string{gitlab.HeaderJobToken: p.Token, "Content-Type": w.FormDataContentType()}, body.Bytes(), 201)
}

// recorder is a test that Start may fail.
type recorder struct {
	*testing.T
	errors   []string
	cleanups []func()
}

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

// Each misdeed must be recorded as exactly what it is, and fail the test that it happens in.
func TestBreaches(t *testing.T) {
	t.Parallel()
	all := slices.Concat(traceMisdeeds(), updateMisdeeds(), fileMisdeeds(zipOf(t, "a")))
	for _, kind := range breach.Kinds() {
		if !slices.ContainsFunc(all, func(m misdeed) bool { return m.want == kind }) {
			t.Errorf("no misdeed breaks the rule %s", kind)
		}
	}
	for _, tc := range all {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			failed := &recorder{T: t}
			c := gitlabtest.Start(failed, gitlabtest.Options{LongPoll: -1})
			d := newDriver(t, c)
			add(t, c, gitlabtest.JobSpec{Artifacts: []jobpayload.Artifact{
				{ArtifactType: "archive", ArtifactFormat: "zip"}, {ArtifactType: "dotenv", ArtifactFormat: "gzip", ExpireIn: "1 week"},
			}})
			p := d.ask(http.StatusCreated)
			d.put(p, gitlab.Update{State: "running"}, 200)
			d.patch(p, 0, hello, 202)
			if b := c.Breaches(); len(b) > 0 {
				t.Fatalf("breaches before anything was broken: %v", b)
			}
			tc.do(d, p)
			var got []breach.Kind
			for _, b := range c.Breaches() {
				got = append(got, b.Kind)
			}
			want := slices.DeleteFunc([]breach.Kind{tc.want, tc.also}, func(k breach.Kind) bool { return k == "" })
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("breaches (-want +got):\n%s", diff)
			}
			for _, f := range failed.cleanups {
				f()
			}
			if len(failed.errors) != len(want) || !strings.Contains(failed.errors[0], string(tc.want)) {
				t.Errorf("the test failed with %q", failed.errors)
			}
		})
	}
}
