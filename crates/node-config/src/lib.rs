//! What a node needs so that its container runtime calls multus, and how it is kept right: the primary network is chosen, a CNI
//! configuration is made of it, marked as ours and put into place, put back when it is damaged, and taken away at the end.
