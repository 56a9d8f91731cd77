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
	Broken // failed or canceled
	Skipped
)

// Step is what to do with a job that waits.
type Step int

// The steps.
const (
	Wait Step = iota
	Start
	Hold // it is manual
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
// Source: GitLab's Ci::ProcessBuildService and AtomicProcessingService.
func (p *Pipeline) Next(i int, outcomes []Outcome) Step {
	j, good := p.Jobs[i], true
	for _, k := range p.Before(i) {
		switch outcomes[k] {
		case Waiting, Going:
			return Wait
		case Held:
			if !p.Jobs[k].AllowFailure || j.Needs != nil {
				return Wait
			}
			// nobody waits for an optional manual job
		case Broken:
			good = false
		case Skipped:
			good = good && j.Needs == nil
		}
	}
	switch {
	case j.When == Always, j.When == OnSuccess && good, j.When == OnFailure && !good:
		return Start
	case j.When == Manual && good:
		return Hold
	}
	return Skip
}
