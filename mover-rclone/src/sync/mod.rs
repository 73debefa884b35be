//! The sync engine: two sorted listings make a plan, the plan is carried out.
