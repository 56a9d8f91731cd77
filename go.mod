module gitlab.com/skerry/skerry

go 1.26.8
