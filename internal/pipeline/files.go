package pipeline

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"gitlab.com/skerry/skerry/internal/job"
)

// maxParallel is GitLab's limit for parallel, a matrix's jobs included.
const maxParallel = 200

func (b *builder) artifacts(n *yaml.Node, key string) {
	b.job.Artifacts = nil
	var a job.Artifact
	var reports []job.Artifact
	a.Type, a.Format = "archive", "zip"
	for _, e := range b.mapping(n, key) {
		sub := join(key, e.key)
		switch e.key {
		case "paths":
			a.Paths = b.strings(e.node, sub)
		case "exclude":
			a.Exclude = b.strings(e.node, sub)
		case "untracked":
			a.Untracked = b.boolean(e.node, sub)
		case "name":
			a.Name = b.text(e.node, sub)
		case "when":
			a.When = b.when(e.node, sub)
		case "expire_in":
			a.ExpireIn = b.expire(e.node, sub)
		case "expose_as":
			b.text(e.node, sub) // shows in merge requests; nothing to do for whoever runs the job
		case "public":
			b.boolean(e.node, sub) // who may download them is GitLab's matter
		case "access":
			b.oneOf(e.node, sub, "all", "developer", "maintainer", "none") // likewise
		case "reports":
			reports = b.reports(e.node, sub)
		default:
			b.unknown(e, key)
		}
	}
	if len(a.Paths) > 0 || a.Untracked {
		b.job.Artifacts = append(b.job.Artifacts, a)
	}
	for _, r := range reports {
		r.ExpireIn = a.ExpireIn
		b.job.Artifacts = append(b.job.Artifacts, r)
	}
}

func (b *builder) when(n *yaml.Node, key string) job.When {
	return job.When(b.oneOf(n, key, string(job.OnSuccess), string(job.OnFailure), string(job.Always)))
}

func (b *builder) expire(n *yaml.Node, key string) string {
	s := b.scalar(n, key)
	if _, err := ParseDuration(s); err != nil && s != "never" {
		b.errorf(b.deref(n).Line, key, "%v, or never", err)
	}
	return s
}

// reportFormats are the report types that a runner uploads, with the format and the file name that
// GitLab gives them. Source: Enums::Ci::JobArtifact.
func reportFormats() map[string][2]string {
	return map[string][2]string{
		"junit": {"gzip", "junit.xml"}, "dotenv": {"gzip", ".env"}, "cobertura": {"gzip", "cobertura-coverage.xml"},
		"jacoco": {"gzip", "jacoco-coverage.xml"}, "metrics": {"gzip", "metrics.txt"}, "lsif": {"zip", "lsif.json"},
		"cyclonedx": {"gzip", "gl-sbom.cdx.json"}, "annotations": {"gzip", "gl-annotations.json"},
		"repository_xray": {"gzip", "gl-repository-xray.json"}, "sast": {"raw", "gl-sast-report.json"},
		"secret_detection":       {"raw", "gl-secret-detection-report.json"},
		"dependency_scanning":    {"raw", "gl-dependency-scanning-report.json"},
		"container_scanning":     {"raw", "gl-container-scanning-report.json"},
		"cluster_image_scanning": {"raw", "gl-cluster-image-scanning-report.json"},
		"dast":                   {"raw", "gl-dast-report.json"}, "license_scanning": {"raw", "gl-license-scanning-report.json"},
		"accessibility": {"raw", "gl-accessibility.json"}, "codequality": {"raw", "gl-code-quality-report.json"},
		"browser_performance": {"raw", "browser-performance.json"}, "load_performance": {"raw", "load-performance.json"},
		"terraform": {"raw", "tfplan.json"}, "requirements": {"raw", "requirements.json"},
		"coverage_fuzzing": {"raw", "gl-coverage-fuzzing.json"}, "api_fuzzing": {"raw", "gl-api-fuzzing-report.json"},
	}
}

func (b *builder) reports(n *yaml.Node, key string) []job.Artifact {
	var list []job.Artifact
	for _, e := range b.mapping(n, key) {
		kind := e.key
		var paths []string
		if e.key == "coverage_report" {
			kind, paths = b.coverage(e.node, join(key, e.key))
		} else {
			paths = b.texts(e.node, join(key, e.key))
		}
		format, ok := reportFormats()[kind]
		if !ok {
			b.errorf(e.line, join(key, e.key), "is not a report that is known here; remove it")
			continue
		}
		list = append(list, job.Artifact{Name: format[1], Paths: paths, When: job.Always, Type: kind, Format: format[0]})
	}
	return list
}

func (b *builder) coverage(n *yaml.Node, key string) (kind string, paths []string) {
	for _, e := range b.mapping(n, key) {
		switch e.key {
		case "coverage_format":
			kind = b.oneOf(e.node, join(key, e.key), "cobertura", "jacoco")
		case "path":
			paths = []string{b.text(e.node, join(key, e.key))}
		default:
			b.unknown(e, key)
		}
	}
	return kind, paths
}

// caches reads one cache or a list of them.
func (b *builder) caches(n *yaml.Node, key string) {
	const most = 4
	b.job.Caches = nil
	n = b.deref(n)
	if n.Kind != yaml.SequenceNode {
		b.cache(n, key)
		return
	}
	if len(n.Content) > most {
		b.errorf(n.Line, key, "has %d caches, but at most %d are allowed", len(n.Content), most)
		return
	}
	for _, one := range n.Content {
		b.cache(one, key)
	}
}

func (b *builder) cache(n *yaml.Node, key string) {
	c := Cache{Cache: job.Cache{Key: "default", Policy: "pull-push", When: job.OnSuccess}}
	entries := b.mapping(n, key)
	if len(entries) == 0 {
		return // cache: {} means none
	}
	for _, e := range entries {
		sub := join(key, e.key)
		switch e.key {
		case "key":
			b.cacheKey(&c, e.node, sub)
		case "paths":
			c.Paths = b.strings(e.node, sub)
		case "unprotect":
			c.Unprotect = b.boolean(e.node, sub)
		case "untracked":
			c.Untracked = b.boolean(e.node, sub)
		case "policy":
			c.Policy = b.text(e.node, sub)
			if !strings.Contains(c.Policy, "$") {
				c.Policy = b.oneOf(e.node, sub, "pull-push", "pull", "push")
			}
		case "when":
			c.When = b.when(e.node, sub)
		case "fallback_keys":
			c.FallbackKeys = b.strings(e.node, sub)
		default:
			b.unknown(e, key)
		}
	}
	b.job.Caches = append(b.job.Caches, c)
}

func (b *builder) cacheKey(c *Cache, n *yaml.Node, key string) {
	if b.deref(n).Kind != yaml.MappingNode {
		c.Key = b.scalar(n, key)
		if strings.Contains(c.Key, "/") || c.Key == "." || c.Key == ".." {
			b.errorf(b.deref(n).Line, key, "is %q, but must hold no slash and be neither . nor ..", c.Key)
		}
		return
	}
	c.Key = ""
	for _, e := range b.mapping(n, key) {
		sub := join(key, e.key)
		switch e.key {
		case "files":
			const most = 2
			if c.Files = b.strings(e.node, sub); len(c.Files) == 0 || len(c.Files) > most {
				b.errorf(e.line, sub, "has %d files, but should have one or two", len(c.Files))
			}
		case "prefix":
			c.Prefix = b.text(e.node, sub)
		default:
			b.unknown(e, key)
		}
	}
	if c.Files == nil {
		b.errorf(b.deref(n).Line, key, "has no files; name them, or write the key as a string")
	}
}

func (b *builder) readParallel(n *yaml.Node, key string) {
	b.count, b.matrix = 0, nil
	n = b.deref(n)
	if n.Kind != yaml.MappingNode {
		b.count = b.integer(n, key, 1, maxParallel)
		return
	}
	for _, e := range b.mapping(n, key) {
		if e.key != "matrix" {
			b.unknown(e, key)
			continue
		}
		for _, row := range b.list(e.node, join(key, e.key)) {
			b.matrix = append(b.matrix, b.product(row, join(key, e.key))...)
			if len(b.matrix) > maxParallel {
				b.errorf(e.line, join(key, e.key), "makes more than %d jobs", maxParallel)
				return
			}
		}
	}
	if len(b.matrix) == 0 {
		b.errorf(n.Line, key, "makes no job; write a number or a matrix")
	}
}

// product returns every combination of a matrix row's values.
func (b *builder) product(n *yaml.Node, key string) []job.Variables {
	rows := []job.Variables{nil}
	for _, e := range b.mapping(n, key) {
		values := []string{}
		if v := b.deref(e.node); v.Kind == yaml.SequenceNode {
			for _, one := range v.Content {
				values = append(values, b.scalar(one, join(key, e.key)))
			}
		} else {
			values = append(values, b.scalar(v, join(key, e.key)))
		}
		var next []job.Variables
		for _, row := range rows {
			for _, value := range values {
				next = append(next, append(slices.Clone(row), job.Variable{Key: e.key, Value: value, Public: true}))
			}
		}
		if rows = next; len(rows) > maxParallel {
			return rows
		}
	}
	return rows
}
