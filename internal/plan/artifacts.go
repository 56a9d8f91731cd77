package plan

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"time"

	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/stage"
)

// Upload is one archive that the engine sends after the stage has packed it.
type Upload struct {
	Archive  string // its name on the wire: stage.PackOne.Name
	Filename string // what GitLab is to call it
	Artifact job.Artifact
	Titled   string // for the log: "archive", "junit" …
}

// Pack is the stage that makes the artifact archives that are due, and what to send afterwards.
func (p *Plan) Pack(success bool, started time.Time) (Step, []Upload) {
	st := p.step(job.StageUploadSuccess, "Uploading artifacts for successful job")
	if !success {
		st = p.step(job.StageUploadFailure, "Uploading artifacts for failed job")
	}
	pack := &stage.Pack{}
	var uploads []Upload
	for i, a := range p.Job.Artifacts {
		if !a.When.Applies(success) || len(a.Paths) == 0 && !a.Untracked {
			continue
		}
		u := Upload{Archive: fmt.Sprintf("artifact-%d", i), Artifact: a, Titled: a.Type}
		if u.Titled == "" {
			u.Titled = "archive"
		}
		format := a.Format
		if format == "" {
			format = "zip"
		}
		u.Filename = archiveName("artifacts", format)
		if a.Name != "" {
			name, warnings := p.expandPath(a.Name)
			u.Filename = archiveName(name, format)
			st.Lines = append(st.Lines, warnings...)
		}
		files := stage.Files{Untracked: a.Untracked}
		var wrong, wrongToo []string
		files.Paths, wrong = p.expandPaths(a.Paths)
		files.Exclude, wrongToo = p.expandPaths(a.Exclude)
		st.Lines = append(append(st.Lines, wrong...), wrongToo...)
		one := stage.PackOne{
			Name: u.Archive, Format: format, Level: p.Settings.ArtifactLevel, Title: u.Titled,
			Files: files,
		}
		if p.Settings.Metadata && u.Titled == "archive" && format == "zip" {
			one.Metadata = p.metadata(u.Filename, started)
		}
		pack.Archives = append(pack.Archives, one)
		uploads = append(uploads, u)
	}
	st.Spec.Pack = pack
	return st, uploads
}

// archiveName is the file name that GitLab shows: NAME.zip, NAME.gz, and of raw files the name alone. One
// that comes out empty is "default"; artifacts without a name are "artifacts". Source: gitlab-runner
// commands/helpers/artifacts_uploader.go.
func archiveName(name, format string) string {
	name = path.Base("/" + name)
	if name == "/" || name == "." {
		name = "default"
	}
	switch format {
	case "zip", "zipzstd":
		return name + ".zip"
	case "gzip":
		return name + ".gz"
	case "tarzstd":
		return name + ".tar.zst"
	default:
		return name
	}
}

func (p *Plan) metadata(name string, started time.Time) *stage.Metadata {
	parameters := map[string]string{}
	for _, v := range p.Variables.Dedup() {
		parameters[v.Key] = "" // names only: values may be secret
	}
	address, _, _ := p.repository()
	return &stage.Metadata{
		ArtifactName: name,
		RunnerID:     p.Value("CI_RUNNER_ID"),
		RunnerName:   p.Runner.Name,
		RepoURL:      address,
		RepoDigest:   p.Job.Git.SHA,
		JobID:        strconv.FormatInt(p.Job.ID, 10),
		JobName:      p.Job.Name,
		StartedAt:    started,
		Executor:     p.Runner.Executor,
		Version:      p.Version.Version,
		Parameters:   parameters,
		Schema:       p.Value("SLSA_PROVENANCE_SCHEMA_VERSION"),
	}
}

// Download is one earlier job's artifacts to fetch before the script.
type Download struct {
	Archive string // its name on the wire
	Job     job.Dependency
}

// Downloads is the stage that extracts earlier jobs' artifacts, and what to fetch for it.
func (p *Plan) Downloads() (Step, []Download) {
	st := p.step(job.StageDownloadArtifacts, "Downloading artifacts")
	unpack := &stage.Unpack{}
	var downloads []Download
	for _, d := range p.Job.Dependencies {
		if d.File == "" {
			continue
		}
		name := fmt.Sprintf("dependency-%d", d.ID)
		if slices.Contains(unpack.Archives, name) {
			continue
		}
		unpack.Archives = append(unpack.Archives, name)
		downloads = append(downloads, Download{Archive: name, Job: d})
		st.Lines = append(st.Lines, notice(fmt.Sprintf("Downloading artifacts for %s (%d)...", d.Name, d.ID)))
	}
	st.Spec.Unpack = unpack
	return st, downloads
}
