package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"strings"
	"unicode"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/stage"
)

// cacheKey is one cache's key as the log shows it and as the store knows it.
type cacheKey struct {
	human  string
	stored string
}

// sanitizeKey makes a relative path without traversal out of a cache key: percent-encoded slashes
// and dots and backslashes mean what they stand for, "." and ".." are resolved beneath a root, and
// white space at the end goes. Source: gitlab-runner cache/cachekey.
func sanitizeKey(raw string) string {
	plain := strings.NewReplacer("%2f", "/", "%2F", "/", "%2e", ".", "%2E", ".", `\`, "/").Replace(raw)
	key := path.Clean("/" + plain)[1:]
	for key != "" {
		trimmed := strings.TrimRightFunc(key, unicode.IsSpace)
		if trimmed == key {
			break
		}
		key = strings.TrimRight(trimmed, "/")
	}
	return key
}

// key resolves a cache's key; an empty one means the job's name and ref.
// The lines are warnings for the job's log.
func (p *Plan) key(raw string) (k cacheKey, lines []string, err error) {
	text := path.Join("/", p.Job.Name, p.Job.Git.Ref)[1:]
	if raw != "" {
		text = p.Expand(raw)
	}
	if p.Flag(FlagHashCacheKeys) {
		if text == "" {
			return k, nil, fmt.Errorf("empty cache key")
		}
		sum := sha256.Sum256([]byte(text))
		return cacheKey{human: text, stored: hex.EncodeToString(sum[:])}, nil, nil
	}
	human := sanitizeKey(text)
	switch {
	case human == "" && text != "":
		lines = append(lines, warning(fmt.Sprintf("cache key %q could not be sanitized", text)))
	case human != text:
		lines = append(lines, warning(fmt.Sprintf("cache key %q sanitized to %q", text, human)))
	}
	if human == "" {
		return k, lines, fmt.Errorf("empty cache key")
	}
	return cacheKey{human: human, stored: human}, lines, nil
}

// file is where the local tier keeps a cache, without the format's suffix.
func (p *Plan) file(k cacheKey) stage.CacheFile {
	return stage.CacheFile{Key: k.human, Path: path.Join(p.Layout.Cache, k.stored, "cache"), Root: p.Runner.CacheDir}
}

// policy reports whether a cache is to be pulled or pushed.
func (p *Plan) policy(c job.Cache, wanted string) (bool, error) {
	switch policy := p.Expand(c.Policy); policy {
	case "", "pull-push":
		return true, nil
	case "pull", "push":
		return policy == wanted, nil
	default:
		return false, &executor.Failure{Reason: job.ReasonConfiguration,
			Err: fmt.Errorf("unknown cache policy %q: use pull-push, pull or push", policy)}
	}
}

// RestoreCache is the stage that restores the job's caches, if it has any.
func (p *Plan) RestoreCache() (Step, bool, error) {
	st := p.step(job.StageRestoreCache, "Restoring cache")
	restore := &stage.RestoreCache{Attempts: p.Settings.RestoreAttempts}
	found := false
	for _, c := range p.Job.Cache {
		if len(c.Paths) == 0 && !c.Untracked {
			continue
		}
		found = true
		k, lines, err := p.key(c.Key)
		st.Lines = append(st.Lines, lines...)
		if err != nil {
			st.Lines = append(st.Lines, notice("Skipping cache extraction due to "+err.Error()))
			continue
		}
		pull, err := p.policy(c, "pull")
		if err != nil {
			return st, false, err
		}
		if !pull {
			st.Lines = append(st.Lines, notice("Not downloading cache "+k.human+" due to policy"))
			continue
		}
		from := stage.CacheFrom{Candidates: []stage.CacheFile{p.file(k)}, Timeout: p.Settings.CacheTimeout}
		fallbacks, lines := p.fallbacks(c)
		st.Lines = append(st.Lines, lines...)
		from.Candidates = append(from.Candidates, fallbacks...)
		restore.Caches = append(restore.Caches, from)
	}
	st.Spec.RestoreCache = restore
	return st, found, nil
}

// fallbacks lists the files to try when a cache's own key has none: the cache's fallback keys, then
// CACHE_FALLBACK_KEY, which may not name a protected cache.
func (p *Plan) fallbacks(c job.Cache) (files []stage.CacheFile, lines []string) {
	add := func(raw string, allowed func(human string) bool) {
		if raw == "" {
			return
		}
		k, more, err := p.key(raw)
		lines = append(lines, more...)
		switch {
		case err != nil:
			lines = append(lines, notice("Skipping cache extraction due to "+err.Error()))
		case allowed == nil || allowed(k.human):
			files = append(files, p.file(k))
		}
	}
	for _, raw := range c.FallbackKeys {
		add(p.Expand(raw), nil)
	}
	add(p.Settings.FallbackKey, func(human string) bool {
		ok := !strings.HasSuffix(strings.TrimRight(human, ". "), "-protected")
		if !ok {
			lines = append(lines, warning(fmt.Sprintf("CACHE_FALLBACK_KEY %q not allowed to end in %q", human, "-protected")))
		}
		return ok
	})
	return files, lines
}

// SaveCache is the stage that saves the job's caches, if any is due.
func (p *Plan) SaveCache(success bool) (Step, bool, error) {
	st := p.step(job.StageArchiveCache, "Saving cache for successful job")
	if !success {
		st = p.step(job.StageArchiveCacheFail, "Saving cache for failed job")
	}
	save := &stage.SaveCache{}
	found := false
	for _, c := range p.Job.Cache {
		if !c.When.Applies(success) || len(c.Paths) == 0 && !c.Untracked {
			continue
		}
		found = true
		k, lines, err := p.key(c.Key)
		st.Lines = append(st.Lines, lines...)
		if err != nil {
			st.Lines = append(st.Lines, notice("Skipping cache archiving due to "+err.Error()))
			continue
		}
		push, err := p.policy(c, "push")
		if err != nil {
			return st, false, err
		}
		if !push {
			st.Lines = append(st.Lines, notice("Not uploading cache "+k.human+" due to policy"))
			continue
		}
		paths, warnings := p.expandPaths(c.Paths)
		st.Lines = append(st.Lines, warnings...)
		save.Caches = append(save.Caches, stage.CacheTo{
			CacheFile: p.file(k),
			Files:     stage.Files{Paths: paths, Untracked: c.Untracked},
			Format:    p.Settings.CacheFormat,
			Level:     p.Settings.CacheLevel,
			Timeout:   p.Settings.CacheTimeout,
			MaxSize:   p.Runner.MaxCacheArchive,
		})
	}
	st.Spec.SaveCache = save
	return st, found, nil
}
