package job

// Variable is one CI/CD variable.
type Variable struct {
	Key    string
	Value  string
	Public bool // may be shown and given to services
	File   bool // the job sees a path to a file that holds Value
	Masked bool // Value must not appear in the log
	Raw    bool // Value is not expanded
}

// Variables is an ordered list of variables; of several with one key the last one wins.
type Variables []Variable
