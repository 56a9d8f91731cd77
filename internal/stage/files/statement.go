package files

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"syscall"
	"time"

	"gitlab.com/skerry/skerry/internal/stage"
)

// The statement about an archive's files, in-toto with a SLSA v1 predicate, as GitLab Runner makes it.
// Source: gitlab-runner commands/helpers/artifact_metadata.go and PROVENANCE.md.
type statement struct {
	Type          string     `json:"_type"`
	Subject       []resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     provenance `json:"predicate"`
}

type resource struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest"`
}

type provenance struct {
	BuildDefinition struct {
		BuildType            string            `json:"buildType"`
		ExternalParameters   map[string]string `json:"externalParameters"`
		InternalParameters   map[string]string `json:"internalParameters"`
		ResolvedDependencies []resource        `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	RunDetails struct {
		Builder struct {
			ID      string            `json:"id"`
			Version map[string]string `json:"version"`
		} `json:"builder"`
		Metadata struct {
			InvocationID string    `json:"invocationId"`
			StartedOn    time.Time `json:"startedOn"`
			FinishedOn   time.Time `json:"finishedOn"`
		} `json:"metadata"`
	} `json:"runDetails"`
}

// writeStatement writes the statement about files into the project directory, where it is packed
// with them, and returns its name.
func writeStatement(ctx context.Context, root *os.Root, files []string, m *stage.Metadata) (string, error) {
	s := statement{
		Type:          "https://in-toto.io/Statement/v0.1",
		PredicateType: "https://slsa.dev/provenance/v1",
		Subject:       []resource{},
		Predicate:     newProvenance(m, time.Now()),
	}
	name := statementName(m)
	for _, file := range files {
		if file == name {
			continue // an earlier archive's, about to be replaced
		}
		sum, ok, err := digest(ctx, root, file)
		if err != nil {
			return "", err
		}
		if ok {
			s.Subject = append(s.Subject, resource{Name: file, Digest: map[string]string{"sha256": sum}})
		}
	}
	text, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return "", err
	}
	if path.Base(name) != name {
		return "", fmt.Errorf("%q is not a file name", name)
	}
	return name, replaceFile(root, name, 0o644, func(f *os.File) error {
		_, err := f.Write(text)
		return err
	})
}

func newProvenance(m *stage.Metadata, now time.Time) provenance {
	var p provenance
	p.BuildDefinition.BuildType = "https://gitlab.com/gitlab-org/gitlab-runner/-/blob/main/PROVENANCE.md"
	external := map[string]string{"entryPoint": m.JobName, "source": m.RepoURL}
	for k, v := range m.Parameters {
		if _, taken := external[k]; !taken {
			external[k] = v
		}
	}
	p.BuildDefinition.ExternalParameters = external
	p.BuildDefinition.InternalParameters = map[string]string{
		"name": m.RunnerName, "executor": m.Executor, "architecture": runtime.GOARCH, "job": m.JobID,
	}
	p.BuildDefinition.ResolvedDependencies = []resource{{URI: m.RepoURL, Digest: map[string]string{"sha256": m.RepoDigest}}}
	p.RunDetails.Builder.ID = m.RepoURL + "/-/runners/" + m.RunnerID
	p.RunDetails.Builder.Version = map[string]string{"skerry": m.Version}
	p.RunDetails.Metadata.InvocationID = m.JobID
	p.RunDetails.Metadata.StartedOn = m.StartedAt.UTC()
	p.RunDetails.Metadata.FinishedOn = m.EndedAt.UTC()
	if m.EndedAt.IsZero() {
		p.RunDetails.Metadata.FinishedOn = now.UTC().Truncate(time.Second)
	}
	return p
}

// digest returns the sha256 of a file; ok is false when it is not a regular one.
func digest(ctx context.Context, root *os.Root, name string) (sum string, ok bool, err error) {
	st, err := root.Lstat(name)
	if err != nil || !st.Mode().IsRegular() {
		return "", false, err
	}
	if err := context.Cause(ctx); err != nil {
		return "", false, err
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", false, err
	}
	return hex.EncodeToString(h.Sum(nil)), true, nil
}
