package pipeline

import "slices"

// Outcome is how far a job is, for whoever decides what comes next.
type Outcome int

// The outcomes. A failure that is allowed is Passed, as for GitLab.
const (
	Waiting Outcome = iota // not decided yet
	Held                   // manual, not started
	Going                  // queued or running
	Passed
	Broken // failed
	Skipped
	Stopped // canceled
)

// Step is what to do with a job that waits.
type Step int

// The steps.
const (
	Wait Step = iota
	Start
	Hold  // it is manual
	Delay // start it after its StartIn
	Skip
)

// Before returns the indexes of the jobs that must be over before p.Jobs[i]: its needs, or
// everything in the stages before.
func (p *Pipeline) Before(i int) []int {
	j := p.Jobs[i]
	var list []int
	for k, d := range p.Jobs {
		needed := slices.ContainsFunc(j.Needs, func(n Need) bool { return n.Job == d.Name })
		if needed || (j.Needs == nil && p.stage(d) < p.stage(j)) {
			list = append(list, k)
		}
	}
	return list
}

func (p *Pipeline) stage(j *Job) int { return slices.Index(p.Stages, j.Stage) }

// Sources returns the indexes of the jobs whose artifacts p.Jobs[i] gets, if they have any.
func (p *Pipeline) Sources(i int) []int {
	j := p.Jobs[i]
	return slices.DeleteFunc(p.Before(i), func(k int) bool {
		name := p.Jobs[k].Name
		named := j.Dependencies == nil || slices.Contains(j.Dependencies, name)
		wanted := j.Needs == nil || slices.ContainsFunc(j.Needs, func(n Need) bool { return n.Job == name && n.Artifacts })
		return !named || !wanted
	})
}

// Next says what to do with p.Jobs[i], which waits. Outcomes are those of p.Jobs, in their order.
// Source: GitLab's Ci::ProcessBuildService and Gitlab::Ci::Status::Composite.
func (p *Pipeline) Next(i int, outcomes []Outcome) Step {
	j, before := p.Jobs[i], p.composite(i, outcomes)
	switch {
	case before == Waiting:
		return Wait
	case j.When == Always && before != Stopped, j.When == OnFailure && before == Broken, j.When == OnSuccess && before == Passed:
		return Start
	case j.When == Manual && before == Passed:
		return Hold
	case j.When == Delayed && before == Passed:
		return Delay
	}
	return Skip
}

// composite is the one outcome of all jobs before p.Jobs[i]. With needs, one that does not run decides at once.
func (p *Pipeline) composite(i int, outcomes []Outcome) Outcome {
	var is [Stopped + 1]bool
	for _, k := range p.Before(i) {
		o := outcomes[k]
		if o == Held && p.Jobs[k].AllowFailure {
			o = Skipped // nobody waits for an optional manual job
		}
		is[o] = true
	}
	switch {
	case is[Skipped] && p.Jobs[i].Needs != nil:
		return Skipped
	case is[Waiting] || is[Going] || is[Held]:
		return Waiting
	case is[Broken]:
		return Broken
	case is[Stopped]:
		return Stopped
	}
	return Passed
}
