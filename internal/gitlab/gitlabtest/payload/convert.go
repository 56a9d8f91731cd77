package payload

import (
	"context"
	"crypto/sha1" //nolint:gosec // GitLab's cache keys are SHA-1
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/pipeline"
)

// Of makes a job of a pipeline's file ready to be handed out. It runs git for the keys of caches.
func Of(ctx context.Context, pl *Pipeline, j *pipeline.Job) (Spec, error) {
	out := Spec{
		Name: j.Name, Stage: j.Stage, Project: pl.Project.Path, Ref: pl.Commit.Ref, Script: j.Script, AfterScript: j.AfterScript,
		Variables: variablesOf(j.Variables), Tags: j.Tags, Timeout: j.Timeout,
		Protected: !pl.Commit.Tag && pl.Commit.Ref == pl.Project.DefaultBranch, AllowFailure: j.AllowFailure, AllowExitCodes: j.AllowExitCodes,
	}
	if j.Image != nil {
		image := imageOf(*j.Image)
		out.Image = &image
		out.Variables = append([]jobpayload.Variable{{Key: "CI_JOB_IMAGE", Value: image.Name, Public: true}}, out.Variables...)
	}
	for _, s := range j.Services {
		out.Services = append(out.Services, imageOf(s))
	}
	for _, a := range j.Artifacts {
		out.Artifacts = append(out.Artifacts, jobpayload.Artifact{
			Name: a.Name, Untracked: a.Untracked, Paths: a.Paths, Exclude: a.Exclude, When: string(a.When),
			ArtifactType: a.Type, ArtifactFormat: a.Format, ExpireIn: a.ExpireIn,
		})
	}
	for _, x := range j.Caches {
		one, err := cacheOf(ctx, pl, x, out.Protected)
		if err != nil {
			return Spec{}, err
		}
		out.Cache = append(out.Cache, one)
	}
	return out, nil
}

func variablesOf(vars job.Variables) []jobpayload.Variable {
	var out []jobpayload.Variable
	for _, v := range vars {
		out = append(out, jobpayload.Variable{Key: v.Key, Value: v.Value, Public: v.Public, File: v.File, Masked: v.Masked, Raw: v.Raw})
	}
	return out
}

func imageOf(i job.Image) jobpayload.Image {
	out := jobpayload.Image{
		Name: i.Name, Alias: i.Alias, Entrypoint: i.Entrypoint, Command: i.Command, Variables: variablesOf(i.Variables), PullPolicy: i.PullPolicies,
	}
	if i.Platform != "" || i.User != "" {
		out.ExecutorOpts, _ = json.Marshal(jobpayload.ExecutorOpts{Docker: &jobpayload.DockerOpts{Platform: i.Platform, User: i.User}}) // our own types
	}
	return out
}

// cacheOf makes the key of files (Gitlab::Ci::Pipeline::Seed::Build::Cache) and keeps the caches of
// protected refs apart from those of others, as GitLab does.
func cacheOf(ctx context.Context, pl *Pipeline, x pipeline.Cache, protected bool) (jobpayload.Cache, error) {
	out := jobpayload.Cache{
		Key: x.Key, Untracked: x.Untracked, Policy: x.Policy, Paths: orEmpty(x.Paths), When: string(x.When), FallbackKeys: slices.Clone(orEmpty(x.FallbackKeys)),
	}
	if len(x.Files) > 0 {
		var ids []string
		for _, file := range x.Files {
			id, err := pl.Project.LastChange(ctx, pl.Commit.SHA, []string{file})
			if err != nil {
				return out, err
			}
			if id != "" {
				ids = append(ids, id)
			}
		}
		out.Key = "default"
		if len(ids) > 0 {
			slices.Sort(ids)
			sum := sha1.Sum([]byte(strings.Join(ids, "-"))) //nolint:gosec // as above
			out.Key = hex.EncodeToString(sum[:])
		}
		if x.Prefix != "" {
			out.Key = x.Prefix + "-" + out.Key
		}
	}
	suffix := "-non_protected"
	if protected && !x.Unprotect {
		suffix = "-protected"
	}
	out.Key += suffix
	for i := range out.FallbackKeys {
		out.FallbackKeys[i] += suffix
	}
	return out, nil
}
