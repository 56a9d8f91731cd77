package main

import "regexp"

// message is a line that a runner writes in its own name: nobody relies on its words.
type message struct {
	side    string // empty: both
	section string // empty: any
	pattern *regexp.Regexp
}

// The two runners, as they are named here.
const (
	ours   = "skerry"
	theirs = "gitlab-runner"
)

// messages lists them. Colours are not part of a line here.
func messages() []message {
	m := func(side, section, pattern string) message {
		return message{side: side, section: section, pattern: regexp.MustCompile("^(?:" + pattern + ")$")}
	}
	return []message{
		m("", "", `Running with .*`),
		m("", "", `on parity .*`),
		m(theirs, "", `feature flags: .*`),
		m("", "prepare_executor", `Using Shell (\(bash\) )?executor\.\.\.`),
		m(theirs, "get_sources", `Gitaly correlation ID: .*`),
		m("", "prepare_script", `Running on .*\.\.\.`),
		m("", "get_sources", `(Initialized empty|Reinitialized existing) Git repository in .*`),
		m("", "get_sources", `Checking out [0-9a-f]{8} as .*\.\.\.`),
		m("", "get_sources", `Fetching changes.*|Created fresh repository\.|Removing .*|Skipping Git .*|(Updating/initializing|Synchroniz|Updated|Updating) submodules.*`),
		m("", "get_sources", `Submodule .*|Entering .*|HEAD is now at .*|Cloning into .*|Deleting .*|Synchronizing submodule url .*`),
		m("", "get_sources", `Configuring submodules .*|Pulling LFS files\.\.\.`),
		m("", "get_sources", `Skipping object checkout, Git LFS is not installed.*|Consider installing it with 'git lfs install'\.`),
		m(theirs, "", `Runtime platform +arch=.*`),
		m("", "", `Uploading artifacts\.\.\.`),
		m("", "archive_cache|archive_cache_on_failure", `.*: found \d+ matching .*|Created cache|Creating cache .*|No URL provided.*|Archive is up to date!|WARNING: .*: no matching files.*`),
		m("", "restore_cache", `Checking cache for .*|No URL provided.*|Successfully extracted cache|Failed to extract cache|WARNING: .*file does not exist.*|FATAL: .*|WARNING: Cache file does not exist.*`),
		m("", "upload_artifacts_on_success|upload_artifacts_on_failure", `.*: found \d+ matching .*|WARNING: .*: no matching files.*|Uploading artifacts as .*|ERROR: No files to upload.*|WARNING: .*outside.*`),
		m("", "download_artifacts", `Downloading artifacts .*`),
		m(theirs, "download_artifacts", `Direct download from .*`),
		m(theirs, "download_artifacts|restore_cache", `WARNING: .*: chmod .*`),
		m("", "cleanup_file_variables", `.*`),
		m("", "", `WARNING: after_script failed, but job will continue unaffected: .*`),
	}
}

// rewrite makes lines equal that say the same with different times, sizes or names.
type rewrite struct {
	pattern *regexp.Regexp
	by      string
}

func rewrites() []rewrite {
	r := func(pattern, by string) rewrite { return rewrite{regexp.MustCompile(pattern), by} }
	return []rewrite{
		r(`(\x1b\[0;m)+$`, ""),                     // where a colour ends at a line's end
		r(`(bash: (?:eval: )?line) \d+:`, "$1 N:"), // of the script that the runner makes
	}
}

// exception is a difference that is meant.
type exception struct {
	pattern *regexp.Regexp // of a difference as it is printed
	why     string
}

// accepted lists them. Each is as narrow as it can be: all lines that differ must be of its kind.
func accepted() []exception {
	const newer = "releases of GitLab Runner after 15.4 do it as Skerry does"
	e := func(where, why string) exception {
		return exception{regexp.MustCompile(`^\S+ ` + where + `: gitlab-runner: [^\n]*$`), why}
	}
	only := func(where, lines, why string) exception {
		return exception{regexp.MustCompile(`^\S+ ` + where + `: - gitlab-runner, \+ skerry:(\n +[-+] "(` + lines + `)")+$`), why}
	}
	const script, failed = `step_script\| `, `\| \\x1b\[31;1mERROR: Job failed: `
	return []exception{
		e(`\d/(failing pipe|command not found)`, newer+": the exit code is that of the command; the older script made it 1"),
		only(`\d/(failing pipe|command not found) log`, failed+`exit status (1|3|127)`, newer+": see above"),
		e(`\d/killed`, "a shell that is killed by a signal ended with 128 and the signal, as shells say it, and not with -1"),
		only(`\d/killed log`, failed+`(exit status 137|signal: killed)`, "see above"),
		only(`\d/masked log`, script+`[^\n]*(private_token=|glpat-)[^\n]*`, newer+": such tokens are masked"),
		only(`\d/variables and precedence log`, script+`(9|10|CI CI_API[A-Z_ ]*)`, newer+": longer short tokens, CI_JOB_TIMEOUT, GITLAB_ENV, RUNNER_TEMP_PROJECT_DIR"),
		only(`\d/file variables log`, script+`(644|600|at content of|\$GLOBAL file|FILE|)`,
			"file variables are for the job's user alone; "+newer+": a file variable in another variable is its path"),
		e(`\d/cache fallback keys`, newer+": fallback_keys"),
		exception{regexp.MustCompile(`^\S+ \d/cache fallback keys log:`), "see above"},
		only(`\d/cache fallback log`, `restore_cache\| [^\n]*not allowed to end in[^\n]*`, newer+": caches of protected refs are not for CACHE_FALLBACK_KEY"),
		exception{regexp.MustCompile(`^\S+ \d/(sections|debug trace) log:`), newer + ": script sections; and the trace of the script that the runner makes shows that script"},
		only(`\d/set -x log`, script+`\+\+ (echo|printf|set) [^\n]*`, "commands are shown with printf, which does not interpret them, and not with echo; xtrace goes to standard error, see above"),
		only(`\d/stdin log`, script+`\[e[sc]\]`, "the script is an argument of the shell and not its standard input, so $- holds c and not s"),
		only(`\d/environment log`, script+`(\d+ bash|\d+ )`, "the shell is not started by another shell"),
		only(`\d/gets artifacts log`, script+`deep/er/file f (777|644)`, "GitLab Runner gives the mode of a symbolic link to what it leads to"),
		only(`\d/no submodules log`, script+`\d`, "what an earlier job with submodules checked out is removed"),
		only(`\d/strategy fetch log`, script+`(The second commit|Add the pipeline)`, newer+": GIT_DEPTH 0 completes a shallow clone"),
		exception{regexp.MustCompile(`^\S+ \d/[^\n]* log: only the order`), "standard output and standard error are two streams, so that timestamps can tell them apart"},
		only(`\d/(compile|cache of nothing) log`, `archive_cache\| [^\n]*No files to cache\.[^\n]*`, newer),
		only(`caches`, `[^\n"]*/metadata\.json|group/project/(nothing|compile)-protected/cache\.zip|[^\n"]*: d\S+ cached/deep/ 0 bytes \S+|[^\n"]*: -\S+ out/deep/er/file 5 bytes \S+`,
			newer+": no archive of nothing, metadata beside archives; and modes of symbolic links, see above"),
	}
}
