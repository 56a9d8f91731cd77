package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/stage"
)

// Step is one stage as the engine runs it: what the agent does, and what the log calls it.
type Step struct {
	Name    job.StageName // the log section's name
	Title   string        // the line that opens the section
	Lines   []string      // further lines of the runner, before the stage's own output
	Timeout time.Duration // 0: the job's
	Spec    stage.Spec
}

// step fills what all stages have in common.
func (p *Plan) step(name job.StageName, title string) Step {
	return Step{Name: name, Title: title, Spec: stage.Spec{
		ID:    string(name),
		Env:   p.environment(""),
		Mixed: p.Runner.Mixed,
		Dir:   p.Layout.Project,
		Base:  p.Layout.Builds,
		Grace: p.Runner.GracefulKill,
		Leave: p.Runner.LeaveProcesses,
	}}
}

// Scripts lists the job's own steps in order, without after_script.
func (p *Plan) Scripts() []Step {
	var steps []Step
	for _, s := range p.Job.Steps {
		if s.Name == "after_script" {
			continue
		}
		name := stepName(s.Name, steps)
		st := p.step(name, `Executing "`+string(name)+`" stage of the job script`)
		lines := s.Script
		if s.Name == "release" { // GitLab leaves the variables of this generated step to the runner
			lines = p.expandAll(lines)
		}
		st.Spec.Pre, st.Spec.Post = hook(p.Runner.PreBuild), hook(p.Runner.PostBuild)
		st.Spec.Script = p.script(lines)
		st.Timeout = p.Settings.ScriptTimeout
		if s.Timeout > 0 && (st.Timeout == 0 || s.Timeout < st.Timeout) && s.Timeout < p.Timeout {
			st.Timeout = s.Timeout
		}
		steps = append(steps, st)
	}
	return steps
}

// maxName is the longest name of a step's stage in bytes; see stage.Spec.
const maxName = 64

// stepName is the stage of a step. It is the stage's id and the name of its section in the log, so that
// only characters that both may hold are left, and no two steps share one.
func stepName(step string, before []Step) job.StageName {
	name := []byte("step_" + strings.ToLower(step))
	for i, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '.' && c != '-' {
			name[i] = '_'
		}
	}
	unique := job.StageName(name[:min(len(name), maxName-8)])
	for n := 2; slices.ContainsFunc(before, func(st Step) bool { return st.Name == unique }); n++ {
		unique = job.StageName(fmt.Sprintf("%s_%d", name[:min(len(name), maxName-8)], n))
	}
	return unique
}

// hook is the runner's own script as the agent takes it.
func hook(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

// AfterScript is the after_script stage, if the job has one. status is CI_JOB_STATUS: "success",
// "failed" or "canceled".
func (p *Plan) AfterScript(status string) (Step, bool) {
	for _, s := range p.Job.Steps {
		if s.Name != "after_script" || len(s.Script) == 0 {
			continue
		}
		st := p.step(job.StageAfterScript, "Running after_script")
		st.Lines = []string{notice("Running after script...")}
		st.Spec.Env = p.environment(status)
		st.Spec.Script = p.script(s.Script)
		st.Timeout = p.Settings.AfterScriptTimeout
		return st, true
	}
	return Step{}, false
}

func (p *Plan) script(lines []string) *stage.Script {
	return &stage.Script{
		Lines:     lines,
		Shell:     p.Runner.Shell,
		Login:     p.Runner.Login,
		Trace:     p.Settings.DebugTrace,
		CheckEach: p.Flag(FlagExitCodeCheck),
		Sections:  p.Flag(FlagScriptSections) && p.Job.Features.TraceSections,
		EnvFile:   p.envFile(),
		Umask:     -1,
	}
}

// Cleanup removes file variables and, when the job or runner wants it, the project directory.
func (p *Plan) Cleanup() Step {
	st := p.step(job.StageCleanup, "Cleaning up project directory and file based variables")
	st.Spec.Env = nil
	st.Spec.Remove = &stage.Remove{Paths: []string{p.Layout.Temp}, Project: p.Flag(FlagJobCleanup)}
	return st
}

// Own gives the job's directories to the user of the build place, whose ids its agent has told; false when that may
// write them all. With the helper's umask everybody may write what the helper makes, but not what earlier jobs
// have left.
func (p *Plan) Own(uid, gid int) (Step, bool) {
	if !p.Runner.Mixed || uid == 0 {
		return Step{}, false
	}
	st := p.step("own", "")
	st.Spec.Env, st.Spec.Dir = nil, ""
	st.Spec.Own = &stage.Own{
		Dirs: p.Layout.parents(), Paths: []string{p.Layout.Project, p.Layout.Temp}, UID: uid, GID: gid, Shut: !p.Flag(FlagKeepUmask),
	}
	if p.Runner.SharedBuilds { // other projects' jobs have theirs there
		st.Spec.Own.Dirs = nil
	}
	return st, true
}

// ANSI colours as GitLab Runner's log uses them.
const (
	green  = "\x1b[32;1m"
	yellow = "\x1b[0;33m"
	reset  = "\x1b[0;m"
)

func notice(text string) string  { return green + text + reset }
func warning(text string) string { return yellow + text + reset }
