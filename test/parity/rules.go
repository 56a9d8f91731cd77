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
		m(ours, "", `Job account: .*`),
		m("", "", `Using (default image|helper image: .*|effective pull policy of .*|locally found image version .*|docker image sha256:.*)`),
		m("", "", `Using Docker executor with image .*|Pulling docker image .*|Starting service .*|Waiting for services .*`),
		m(theirs, "", `Container .* disconnected from network .*|Changing ownership of files at .*`),
		m("", "prepare_executor", `Not using umask.*`),
		m("", "", `\[service:[^]]*\] .*`),
		m("", "|prepare_executor", `\*\*\* WARNING:.* Service .*|Health check error:|service ".*" .*|(Service|Health check) container logs:|[-0-9]*T[0-9:.]*Z .*|\*{9}`),
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
		m(theirs, "", `WARNING: (step|after)_script could not run to completion because the timeout was exceeded\..*`),
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
	e := func(where, why string) exception {
		return exception{regexp.MustCompile(`^\S+ ` + where + `: gitlab-runner: [^\n]*$`), why}
	}
	only := func(where, lines, why string) exception {
		return exception{regexp.MustCompile(`^\S+ ` + where + `: - gitlab-runner, \+ skerry:(\n +[-+] "(` + lines + `)")+$`), why}
	}
	const script, failed = `step_script\| `, `\| \\x1b\[31;1mERROR: Job failed: `
	return []exception{
		e(`\d/killed`, "a shell that is killed by a signal ended with 128 and the signal, as shells say it, and not with -1"),
		only(`\d/killed log`, failed+`(exit status 137|signal: killed)`, "see above"),
		only(`\d/file variables log`, script+`(644|600)`, "file variables are for the job's user alone"),
		only(`\d/set -x log`, script+`(\+\+ (echo|printf|set) |\\x1b\[32;1m\$ )[^\n]*`, "commands are shown with printf, which does not interpret them, and not with echo; xtrace goes to standard error, see above"),
		only(`\d/stdin log`, script+`\[e[sc]\]`, "the script is an argument of the shell and not its standard input, so $- holds c and not s"),
		only(`\d/no submodules log`, script+`\d`, "what an earlier job with submodules checked out is removed"),
		only(`\d/(script |after_script )?timeout log`, `(step|after)_script\| Terminated|`+failed+`script timeout: [^\n]*`, "bash says what became of its command, or is ended before it can"),
		only(`\d/broken dotenv log`, `upload_artifacts_on_success\| [^\n]*|`+failed+`(exit status 1|upload artifacts as \\"dotenv\\"[^\n]*)`,
			"an upload that is refused is not tried again, and the job says why it failed"),
		only(`\d/removed directory log`, `after_script\| [^\n]*`, "after_script runs all the same, in a new directory"),
		only(`\d/entrypoint:of the image log`, `[a-z_]*\| entrypoint: 3 arguments, first sh`, "the entrypoint runs once a job, before the script, and not for each stage"),
		only(`\d/entrypoint:variables log`, `[a-z_]*\| entry sees [^\n]*`, "see above"),
		e(`\d/entrypoint:shell`, "a shell as the entrypoint works"),
		only(`\d/entrypoint:shell log`, `[^\n]*`, "see above"),
		e(`\d/entrypoint:(fails|missing)`, "the entrypoint is at fault: neither the script nor the runner"),
		only(`\d/entrypoint:(fails|missing) log`, `[^\n]*`, "see above"),
		e(`\d/image:bad name`, "the image's name is at fault, not a registry"),
		only(`\d/(image:(bad name|missing|pull never)|services:missing) log`, `(prepare_executor|prepare_script|get_sources)\| [^\n]*|\| [^\n]*`, "sources are fetched beside the pull, and messages say more"),
		only(`\d/services:dies log`, `\| I die`, "a service's last words are shown as they are"),
		e(`\d/(killed|terminated)`, "the script's shell is no first process of a container, which signals do not reach"),
		only(`\d/(killed|terminated) log`, `after_script\| after (success|failed)|step_script\| \\x1b\[32;1m\$ sleep 1|`+failed+`exit code [0-9]+|\| \\x1b\[32;1mJob succeeded`, "see above"),
		exception{regexp.MustCompile(`^\S+ \d/[^\n]* log: only the order`), "standard output and standard error are two streams, so that timestamps can tell them apart"},
	}
}
