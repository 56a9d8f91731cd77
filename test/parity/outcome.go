package main

import (
	"archive/zip"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
)

// outcome is what users see of a runner's work.
type outcome struct {
	side     side
	url      string
	tries    []try
	caches   []string
	breaches []string
}

// try is one try of one job.
type try struct {
	name      string // "1/name", with " again" for retries
	id        int64
	status    string
	reason    string
	exit      int
	artifacts []string // a line for each file in each
	dotenv    []string
	log       string // as the coordinator got it
	token     string
}

// collect adds the jobs of a pipeline, all their tries.
func (o *outcome) collect(co *gitlabtest.Coordinator, round int, pipeline int64) error {
	for _, j := range co.Jobs() {
		if j.Pipeline != pipeline {
			continue
		}
		log, err := co.Trace(j.ID)
		if err != nil {
			return err
		}
		t := try{
			name: fmt.Sprintf("%d/%s%s", round, j.Name, strings.Repeat(" again", j.Retries)), id: j.ID,
			status: j.Status, reason: j.Reason, exit: j.ExitCode, log: string(log), token: j.Token,
		}
		for _, a := range j.Artifacts {
			lines, err := listArtifact(a)
			if err != nil {
				return fmt.Errorf("artifact %s of %s: %w", a.Filename, t.name, err)
			}
			t.artifacts = append(t.artifacts, fmt.Sprintf("%s %s %s expires %q", a.Type, a.Format, a.Filename, a.ExpireIn))
			for _, l := range lines {
				t.artifacts = append(t.artifacts, a.Type+": "+l)
			}
		}
		for _, v := range j.Dotenv {
			t.dotenv = append(t.dotenv, fmt.Sprintf("%s=%q", v.Key, v.Value))
		}
		o.tries = append(o.tries, t)
	}
	return nil
}

func listArtifact(a gitlabtest.Artifact) ([]string, error) {
	switch a.Format {
	case "zip":
		return listZip(a.Path)
	case "gzip":
		f, err := os.Open(a.Path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			return nil, err
		}
		var lines []string
		for { // one member a file
			z.Multistream(false)
			text, err := io.ReadAll(z)
			if err != nil {
				return nil, err
			}
			lines = append(lines, fmt.Sprintf("%s %s", z.Name, sum(text)))
			if err := z.Reset(f); errors.Is(err, io.EOF) {
				return lines, nil
			} else if err != nil {
				return nil, err
			}
		}
	default:
		text, err := os.ReadFile(a.Path)
		return []string{sum(text)}, err
	}
}

// listZip describes an archive's entries: name, mode, and what is in it.
func listZip(path string) ([]string, error) {
	z, err := zip.OpenReader(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = z.Close() }()
	var lines []string
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		what := sum(text)
		if f.Mode()&fs.ModeSymlink != 0 {
			what = "-> " + string(text)
		}
		lines = append(lines, fmt.Sprintf("%s %s %s", f.Mode(), f.Name, what))
	}
	sort.Strings(lines)
	return lines, nil
}

func sum(text []byte) string {
	s := sha256.Sum256(text)
	return fmt.Sprintf("%d bytes %s", len(text), hex.EncodeToString(s[:6]))
}

// collectCaches lists what is in the cache directory in the end.
func (o *outcome) collectCaches(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		o.caches = append(o.caches, rel)
		if filepath.Ext(path) != ".zip" {
			return nil
		}
		lines, err := listZip(path)
		for _, l := range lines {
			o.caches = append(o.caches, rel+": "+l)
		}
		return err
	})
}

// write keeps the logs for people to look at.
func (o *outcome) write(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, t := range o.tries {
		name := strings.ReplaceAll(t.name, "/", "-")
		if err := os.WriteFile(filepath.Join(dir, name+".log"), []byte(t.log), 0o600); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name+".normal"), []byte(strings.Join(o.normal(t), "\n")), 0o600); err != nil {
			return err
		}
	}
	return nil
}
