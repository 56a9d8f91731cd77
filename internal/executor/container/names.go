package container

import (
	"maps"
	"strconv"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/carrier"
	"gitlab.com/skerry/skerry/internal/job"
)

// The labels of everything that the executor makes.
const (
	labelOwner = "com.gitlab.skerry.owner"
	labelRef   = "com.gitlab.skerry.ref"
	labelPart  = carrier.LabelPart // helper, build, service, network, volume, agent, nested, nested-shared
)

// gitlabLabel begins the labels that GitLab Runner gives to its containers: monitoring looks for them.
const gitlabLabel = "com.gitlab.gitlab-runner."

func containerName(ref executor.Ref, part string) string { return "skerry-" + ref.ID + "-" + part }

// labels are those of a part of an environment.
func labels(ref executor.Ref, j *job.Job, part string, more map[string]string) map[string]string {
	l := map[string]string{
		gitlabLabel + "managed":       "true",
		gitlabLabel + "type":          part,
		gitlabLabel + "job.id":        strconv.FormatInt(j.ID, 10),
		gitlabLabel + "job.ref":       j.Git.Ref,
		gitlabLabel + "job.sha":       j.Git.SHA,
		gitlabLabel + "job.beforesha": j.Git.BeforeSHA,
		gitlabLabel + "job.timeout":   j.Timeout.String(),
		gitlabLabel + "project.id":    strconv.FormatInt(j.ProjectID, 10),
		gitlabLabel + "pipeline.id":   variable(j, "CI_PIPELINE_ID"),
	}
	for k, v := range more {
		l[gitlabLabel+k] = j.Variables.ExpandString(v, filePaths(j))
	}
	maps.Copy(l, ownLabels(ref, part))
	return l
}

func ownLabels(ref executor.Ref, part string) map[string]string {
	return map[string]string{labelOwner: string(ref.Owner), labelRef: ref.String(), labelPart: part}
}

func variable(j *job.Job, key string) string {
	v, _ := j.Variables.Lookup(key)
	return v.Value
}
