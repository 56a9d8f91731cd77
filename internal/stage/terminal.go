package stage

// Terminal is a program that a user runs in the build place beside the job's stages: a shell, if Args is empty.
type Terminal struct {
	Args []string `json:"args,omitempty"` // the program, found in the job's PATH, and its arguments
	TTY  bool     `json:"tty"`            // with a terminal
	Rows uint16   `json:"rows,omitempty"` // its size
	Cols uint16   `json:"cols,omitempty"`

	Shell   string `json:"shell,omitempty"`    // as Script.Shell
	Login   bool   `json:"login,omitempty"`    // as Script.Login
	Env     []Var  `json:"env,omitempty"`      // as Spec.Env; files that are there already are left as they are
	EnvFile string `json:"env_file,omitempty"` // as Script.EnvFile
	Dir     string `json:"dir"`                // where it starts, if it is there
	Base    string `json:"base,omitempty"`     // else here, else in the root directory
}

// TerminalFunc turns a Terminal into the process to start, without its descriptors. It prepares what the process needs.
type TerminalFunc func(place Place, t *Terminal) (Command, error)
