/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What an inode tells about its file. Its change time has had three names in the kernel's life.
 */
#pragma once

#include "bpf.h"

#define NS_PER_S 1000000000ULL

/* Since 6.13 the kernel marks a change time that somebody has asked for, in the top bit. */
#define CTIME_QUERIED (1U << 31)

#define S_IFMT 0170000
#define S_IFREG 0100000

INLINE u64 ns_of(struct timespec64 time)
{
	return time.tv_sec * NS_PER_S + time.tv_nsec;
}

INLINE u64 change_time(struct inode *inode)
{
	if (HAS(struct inode, i_ctime_sec))
		return LOAD(inode, i_ctime_sec) * NS_PER_S +
		       (LOAD(inode, i_ctime_nsec) & ~CTIME_QUERIED);
	if (HAS(struct inode___6_6, __i_ctime))
		return ns_of(LOAD((struct inode___6_6 *)inode, __i_ctime));
	return ns_of(LOAD((struct inode___old *)inode, i_ctime));
}

INLINE u64 modify_time(struct inode *inode)
{
	if (HAS(struct inode, i_mtime_sec))
		return LOAD(inode, i_mtime_sec) * NS_PER_S + LOAD(inode, i_mtime_nsec);
	if (HAS(struct inode___6_6, __i_mtime))
		return ns_of(LOAD((struct inode___6_6 *)inode, __i_mtime));
	return ns_of(LOAD((struct inode___old *)inode, i_mtime));
}

INLINE u32 device_of(struct inode *inode)
{
	return LOAD(LOAD(inode, i_sb), s_dev);
}
