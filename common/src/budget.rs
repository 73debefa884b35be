//! Memory for data is reserved here before it is filled; the total obeys the cgroup.
