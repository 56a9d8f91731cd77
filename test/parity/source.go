package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The projects of the coordinator. The first one has the second as a submodule, where there is a
// directory lib beside its files.
const (
	projectPath = "group/project"
	libraryPath = "group/lib"
)

// makeRepositories makes git repositories of the files in from: below to, "project" and perhaps "lib".
func makeRepositories(ctx context.Context, to, from string) error {
	project, library := filepath.Join(to, "project"), filepath.Join(to, "lib")
	if err := os.CopyFS(project, os.DirFS(from)); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	if err := git(ctx, project, "init", "-q", "-b", "main"); err != nil {
		return err
	}
	err := os.CopyFS(library, os.DirFS(filepath.Join(from, "..", "lib")))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("copy the submodule: %w", err)
	default:
		if err := errors.Join(git(ctx, library, "init", "-q", "-b", "main"), commit(ctx, library, "Add the library")); err != nil {
			return err
		}
		if err := git(ctx, project, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", library, "lib"); err != nil {
			return err
		}
		modules := filepath.Join(project, ".gitmodules")
		text, err := os.ReadFile(modules)
		if err != nil {
			return err
		}
		if err := os.WriteFile(modules, []byte(strings.Replace(string(text), library, "../lib.git", 1)), 0o600); err != nil {
			return err
		}
	}
	if err := commit(ctx, project, "Add the pipeline"); err != nil {
		return err
	}
	for _, n := range []string{"second", "third"} {
		if err := git(ctx, project, "-c", "user.name=Dev", "-c", "user.email=dev@example.com", "commit", "-q", "--allow-empty", "-m", "The "+n+" commit"); err != nil {
			return err
		}
	}
	return nil
}

func commit(ctx context.Context, dir, message string) error {
	if err := git(ctx, dir, "add", "-A"); err != nil {
		return err
	}
	return git(ctx, dir, "-c", "user.name=Dev", "-c", "user.email=dev@example.com", "commit", "-q", "-m", message)
}

func git(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_DATE=2026-01-01T00:00:00Z", "GIT_COMMITTER_DATE=2026-01-01T00:00:00Z")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
